#!lua
-- Stores one message of a room and fans it out, once for each idempotency key and no faster than the room's rate.
--
-- KEYS  log, top, and with an idempotency field: keys. None that isn't used: while a slot moves, one that isn't there stops the rest.
-- ARGV  1 channel  2 epoch and `-*`  3 body  4 most messages kept
--       5 idempotency field or ''  6 milliseconds its answer counts  7 messages a second or ''
-- Gives the message's id; {'duplicate', id}; {'limited', milliseconds}; or nil if the epoch has to be opened first.
--
-- Nothing is written before XADD, the last thing that can fail.

local log, top, answers = KEYS[1], KEYS[2], KEYS[3]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

if ARGV[5] ~= '' then
  local answer = redis.call('HGET', answers, ARGV[5])
  if answer then
    local expires, id = string.match(answer, '^(%d+) (.+)$')
    if tonumber(expires) > now then
      -- A write, so that WAIT on this connection covers the message.
      redis.call('PEXPIRE', answers, ARGV[6])
      return {'duplicate', id}
    end
  end
end
local empty_at
if ARGV[7] ~= '' then
  local now_us = time[1] * 1000000 + time[2]
  empty_at = math.max(tonumber(redis.call('HGET', top, 'rate') or 0), now_us) + 1000000 / ARGV[7]
  if empty_at > now_us + 1000000 then
    return {'limited', math.ceil((empty_at - now_us - 1000000) / 1000)}
  end
end

local id = redis.pcall('XADD', log, 'NOMKSTREAM', 'MAXLEN', '~', ARGV[4], ARGV[2], time[1], time[2], 'b1', ARGV[3])
if type(id) ~= 'string' then
  if not id or string.find(id.err, 'equal or smaller', 1, true) then
    return false
  end
  return id
end

if empty_at then
  redis.call('HSET', top, 'rate', string.format('%.0f', empty_at))
end
if ARGV[5] ~= '' then
  redis.call('HSET', answers, ARGV[5], string.format('%.0f', now + ARGV[6]) .. ' ' .. id)
  redis.call('PEXPIRE', answers, ARGV[6])
  -- Fields of a hash don't expire by themselves: three at random are looked at, as Redis does with its keys.
  local some = redis.call('HRANDFIELD', answers, 3, 'WITHVALUES')
  for i = 1, #some, 2 do
    if tonumber(string.match(some[i + 1], '^%d+')) <= now then
      redis.call('HDEL', answers, some[i])
    end
  end
end

redis.call('SPUBLISH', ARGV[1], '1m' .. id .. ' ' .. time[1] .. ' ' .. time[2] .. '\n' .. ARGV[3])
return id
