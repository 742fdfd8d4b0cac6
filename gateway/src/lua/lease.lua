#!lua
-- Renews a gateway's lease, or begins one under a new id, and lists all gateways.
--
-- KEYS  gw
-- ARGV  1 id, '' to begin a lease  2 what a new id ends with  3 milliseconds a lease holds
--       4 milliseconds for which an expired one is remembered
-- Gives {id or '' if the lease was lost, milliseconds now, alternating ids and when their leases expire}.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local id = ARGV[1]
if id == '' then
  id = string.format('%.0f', now) .. '.' .. ARGV[2]
elseif tonumber(redis.call('ZSCORE', KEYS[1], id) or 0) <= now then
  id = ''
end
if id ~= '' then
  redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[3]), id)
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - ARGV[4]))
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
end
return {id, now, redis.call('ZREVRANGE', KEYS[1], 0, 9999, 'WITHSCORES')}
