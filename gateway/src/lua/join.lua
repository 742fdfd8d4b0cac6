#!lua
-- A user's first connection on a gateway is in a room. Told unless the user was there already, through whichever gateway.
--
-- `here` maps each user to its gateways, `<gateway>=<0, or when it stops lingering>`, parted by spaces. The empty field is
-- the version: the microseconds of the last announcement, or more. Each announcement names its own and the one before.
--
-- KEYS  here
-- ARGV  1 channel  2 user  3 gateway  4 ids this gateway had before, parted by spaces  5 milliseconds until here expires
-- Gives the count of users.

local here, user, gateway = KEYS[1], ARGV[2], ARGV[3]
local before = redis.call('HGET', here, user)
local after = gateway .. '=0'
for id, lingers in string.gmatch(before or '', '(%S+)=(%d+)') do
  if id ~= gateway and not string.find(' ' .. ARGV[4] .. ' ', ' ' .. id .. ' ', 1, true) then
    after = after .. ' ' .. id .. '=' .. lingers
  end
end
redis.call('HSET', here, user, after)
redis.call('PEXPIRE', here, ARGV[5])
if before then
  return redis.call('HLEN', here) - 1
end
local time = redis.call('TIME')
local previous = redis.call('HGET', here, '') or '0'
local version = string.format('%.0f', math.max(time[1] * 1000000 + time[2], previous + 1))
redis.call('HSET', here, '', version)
local count = redis.call('HLEN', here) - 1
redis.call('SPUBLISH', ARGV[1], '1p' .. version .. ' ' .. previous .. '\n' .. cjson.encode({j = {user}, c = count}))
return count
