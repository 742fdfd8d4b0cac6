#!lua
-- A user's first connection on a gateway opened, or its last one there closed. When that was its last one anywhere, the
-- time is kept.
--
-- KEYS  user
-- ARGV  1 gateway  2 'online' or 'offline'  3 milliseconds until the key expires
--       4 gateways known to be dead and ids this gateway had before, parted by spaces

local gone = ' ' .. ARGV[4] .. ' '
local elsewhere = false
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  if string.find(gone, ' ' .. field .. ' ', 1, true) then
    redis.call('HDEL', KEYS[1], field)
  elseif field ~= 'seen' and field ~= ARGV[1] then
    elsewhere = true
  end
end
if ARGV[2] == 'online' then
  redis.call('HSET', KEYS[1], ARGV[1], 1)
elseif redis.call('HDEL', KEYS[1], ARGV[1]) == 1 and not elsewhere then
  local time = redis.call('TIME')
  redis.call('HSET', KEYS[1], 'seen', time[1] .. string.sub('000000' .. time[2], -6, -4))
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
