#!lua
-- A user's last connection on a gateway is gone from a room: told now, or lingers, or has lingered long enough.
--
-- KEYS  here
-- ARGV  1 channel  2 user  3 gateway  4 'now', 'linger' or 'lingered'  5 milliseconds to linger
--       6 gateways known to be dead, parted by spaces  7 milliseconds until an empty here expires
-- Gives the milliseconds that the user still lingers, 0 if it doesn't.

local here, user, gateway, how = KEYS[1], ARGV[2], ARGV[3], ARGV[4]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local mine
local others, living = '', false
for id, lingers in string.gmatch(redis.call('HGET', here, user) or '', '(%S+)=(%d+)') do
  if id == gateway then
    mine = tonumber(lingers)
  else
    others = others .. ' ' .. id .. '=' .. lingers
    living = living or not string.find(' ' .. ARGV[6] .. ' ', ' ' .. id .. ' ', 1, true)
  end
end
if not mine then
  return 0
end

local last_seen = now
if how == 'linger' then
  if mine == 0 then
    mine = now + ARGV[5]
    redis.call('HSET', here, user, gateway .. '=' .. string.format('%.0f', mine) .. others)
  end
  return mine - now
elseif how == 'lingered' then
  if mine == 0 then
    return 0
  elseif mine > now then
    return mine - now
  end
  last_seen = mine - ARGV[5]
end

if living then
  redis.call('HSET', here, user, string.sub(others, 2))
  return 0
end
redis.call('HDEL', here, user)
local previous = redis.call('HGET', here, '') or '0'
local version = string.format('%.0f', math.max(time[1] * 1000000 + time[2], previous + 1))
redis.call('HSET', here, '', version)
local count = redis.call('HLEN', here) - 1
if count == 0 then
  redis.call('PEXPIRE', here, ARGV[7])
end
redis.call('SPUBLISH', ARGV[1], '1p' .. version .. ' ' .. previous .. '\n'
  .. cjson.encode({l = {{user, last_seen}}, c = count}))
return 0
