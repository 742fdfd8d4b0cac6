-- Reads stored messages and the state of the log in the same instant, after taking out what is too much or too old.
--
-- KEYS  log, top
-- ARGV  1 replid of the primary  2 first id  3 last id  4 'up' or 'down'  5 most messages given
--       6 most messages kept  7 most milliseconds kept
-- Gives {last id ever, end of the previous epoch or '', 1 if nothing was lost at that end, oldest id or '', the same again if that is a deletion or '', 1 if
-- there is more, entries}; or nil if the epoch has to be opened first.

local log, top = KEYS[1], KEYS[2]
local known = redis.call('HMGET', top, 'epoch', 'replid', 'previous', 'whole')
if not known[1] or known[2] ~= ARGV[1] or redis.call('EXISTS', log) == 0 then
  return false
end
local last
local info = redis.call('XINFO', 'STREAM', log)
for i = 1, #info, 2 do
  if info[i] == 'last-generated-id' then
    last = info[i + 1]
  end
end
if string.match(last, '^%d+') ~= known[1] then
  return false
end

local head = trim(log, ARGV[6], ARGV[7])

-- A deletion takes out all before it, so only the oldest entry can be one. It is no message: one more is asked for.
local deleted = ''
if head and head[2][3] == 'd1' then
  deleted = head[1]
end

local entries
if ARGV[4] == 'up' then
  entries = redis.call('XRANGE', log, ARGV[2], ARGV[3], 'COUNT', ARGV[5] + 2)
else
  entries = redis.call('XREVRANGE', log, ARGV[3], ARGV[2], 'COUNT', ARGV[5] + 2)
end
for i = #entries, 1, -1 do
  if entries[i][1] == deleted then
    table.remove(entries, i)
  end
end
local more = 0
while #entries > tonumber(ARGV[5]) do
  more = 1
  table.remove(entries)
end
return {last, known[3] or '', known[3] and known[4] == known[3] and 1 or 0, head and head[1] or '', deleted, more, entries}
