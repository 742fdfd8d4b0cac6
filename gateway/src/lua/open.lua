#!lua
-- Makes sure that a room has an epoch of this replication history, and says which. A new epoch begins with an entry
-- `<epoch>-0` that is taken out at once: it leaves the stream's last id behind, so that `<epoch>-*` counts on from 1.
--
-- KEYS  log, top
-- ARGV  1 replid of the primary  2 milliseconds until log expires  3 the same for top
--       4… replids of histories that are proven to have flowed into this one whole
-- Gives the epoch.

local log, top = KEYS[1], KEYS[2]
local known = redis.call('HMGET', top, 'epoch', 'replid')
local last, last_epoch
if redis.call('EXISTS', log) == 1 then
  local info = redis.call('XINFO', 'STREAM', log)
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then
      last = info[i + 1]
      last_epoch = string.match(last, '^%d+')
    end
  end
end

local epoch = known[1]
if not (last and epoch and epoch == last_epoch and known[2] == ARGV[1]) then
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  epoch = string.format('%.0f', math.max(now, tonumber(known[1] or 0) + 1, tonumber(last_epoch or 0) + 1))
  redis.call('XADD', log, epoch .. '-0', 'b1', '')
  redis.call('XDEL', log, epoch .. '-0')
  redis.call('HSET', top, 'epoch', epoch, 'replid', ARGV[1])
  if last then
    local whole = false
    if known[1] == last_epoch then
      whole = known[2] == ARGV[1]
      for i = 4, #ARGV do
        whole = whole or known[2] == ARGV[i]
      end
    end
    -- `whole` names the end that it speaks of: an older version changes `previous` alone.
    redis.call('HSET', top, 'previous', last, 'whole', whole and last or '')
  else
    -- What the epoch before came to went with the log.
    redis.call('HDEL', top, 'previous', 'whole')
  end
end
redis.call('PEXPIRE', log, ARGV[2])
redis.call('PEXPIRE', top, ARGV[3])
return epoch
