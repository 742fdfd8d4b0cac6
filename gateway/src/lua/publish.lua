#!lua
-- Stores one message of a room and fans it out. The usual path is XADD (which trims by number) and SPUBLISH.
--
-- KEYS  log; then, each only where it is used: keys (with an idempotency field), top (with a rate or expiries)
-- ARGV  1 channel  2 epoch  3 body  4 most messages kept  5 most milliseconds kept; on the usual path no more:
--       6 idempotency field or ''  7 milliseconds its answer counts  8 messages a second or ''
--       9 milliseconds until log expires, or '' to leave the expiries alone  10 the same for top
-- Gives the message's id; {'duplicate', id}; {'limited', milliseconds}; or nil if the epoch has to be opened first.
--
-- Nothing is written before XADD, the last thing that can fail.

local log = KEYS[1]
local time = redis.call('TIME')
local now = time[1] .. string.sub('000000' .. time[2], -6, -4)

local empty_at
local with_options = ARGV[6]
local answers, top = KEYS[2], KEYS[#KEYS]
if with_options then
  if ARGV[6] ~= '' then
    local answer = redis.call('HGET', answers, ARGV[6])
    if answer then
      local expires, id = string.match(answer, '^(%d+) (.+)$')
      if tonumber(expires) > tonumber(now) then
        -- A write, so that WAIT on this connection covers the message.
        redis.call('PEXPIRE', answers, ARGV[7])
        return {'duplicate', id}
      end
    end
  end
  if ARGV[8] ~= '' then
    local now_us = time[1] * 1000000 + time[2]
    empty_at = math.max(tonumber(redis.call('HGET', top, 'rate') or 0), now_us) + 1000000 / ARGV[8]
    if empty_at > now_us + 1000000 then
      return {'limited', math.ceil((empty_at - now_us - 1000000) / 1000)}
    end
  end
end

local id = redis.pcall('XADD', log, 'NOMKSTREAM', 'MAXLEN', '~', ARGV[4], ARGV[2] .. '-*',
  't1', now, 'b', ARGV[3])
if not id then
  return false
end
if type(id) == 'table' then
  -- The only refusal that opening the epoch cures: another gateway has opened a higher one.
  if string.find(id.err, 'equal or smaller', 1, true) then
    return false
  end
  return id
end

-- Every tenth message looks whether the oldest one has aged, and if so takes out what has aged of the sixteen oldest. Ids
-- are no times: the entries have to be looked at, and that costs as much as all the rest.
if string.byte(id, -1) == 48 then
  local oldest = now - ARGV[5]
  local head = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)
  if tonumber(head[1][2][2]) < oldest then
    head = redis.call('XRANGE', log, '-', '+', 'COUNT', 16)
    local keep = #head
    for i = 1, #head do
      if tonumber(head[i][2][2]) >= oldest then
        keep = i
        break
      end
    end
    redis.call('XTRIM', log, 'MINID', head[keep][1])
  end
end

if with_options then
  if empty_at then
    redis.call('HSET', top, 'rate', string.format('%.0f', empty_at))
  end
  if ARGV[9] ~= '' then
    redis.call('PEXPIRE', log, ARGV[9])
    redis.call('PEXPIRE', top, ARGV[10])
  end
  if ARGV[6] ~= '' then
    redis.call('HSET', answers, ARGV[6], string.format('%.0f', now + ARGV[7]) .. ' ' .. id)
    redis.call('PEXPIRE', answers, ARGV[7])
    -- Fields of a hash don't expire by themselves: three at random are looked at, as Redis does with its keys.
    local some = redis.call('HRANDFIELD', answers, 3, 'WITHVALUES')
    for i = 1, #some, 2 do
      if tonumber(string.match(some[i + 1], '^%d+')) <= tonumber(now) then
        redis.call('HDEL', answers, some[i])
      end
    end
  end
end

redis.call('SPUBLISH', ARGV[1], '1m' .. id .. ' ' .. now .. '\n' .. ARGV[3])
return id
