#!lua
-- Reads stored messages and the state of the log in the same instant, after taking out what is too much or too old.
--
-- KEYS  log, top
-- ARGV  1 replid of the primary  2 first id  3 last id  4 'up' or 'down'  5 most messages given
--       6 most messages kept  7 most milliseconds kept
-- Gives {last id ever, end of the previous epoch or '', oldest id or '', the same again if that is a deletion or '', 1 if
-- there is more, entries}; or nil if the epoch has to be opened first.

local log, top = KEYS[1], KEYS[2]
local known = redis.call('HMGET', top, 'epoch', 'replid', 'previous')
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

local time = redis.call('TIME')
local oldest_time = time[1] * 1000 + math.floor(time[2] / 1000) - ARGV[7]

local function aged(entry)
  return tonumber(entry[2][2]) < oldest_time
end

local function first_from(from, to)
  return redis.call('XRANGE', log, from, to, 'COUNT', 1)[1]
end

local function last_until(to)
  return redis.call('XREVRANGE', log, to, '-', 'COUNT', 1)[1]
end

-- Entries are in the order of their times, and offsets have no holes: halve what lies between an aged and a young one.
local function first_young(lo, hi)
  while true do
    local lo_epoch, lo_offset = string.match(lo, '^(%d+)%-(%d+)$')
    local hi_epoch, hi_offset = string.match(hi, '^(%d+)%-(%d+)$')
    if lo_epoch == hi_epoch then
      if hi_offset - lo_offset <= 1 then
        return hi
      end
      local middle = first_from(lo_epoch .. '-' .. string.format('%.0f', math.floor((lo_offset + hi_offset) / 2)), hi)
      if aged(middle) then
        lo = middle[1]
      else
        hi = middle[1]
      end
    else
      local first = first_from(hi_epoch .. '-0', hi)
      if aged(first) then
        lo = first[1]
      else
        local before = last_until('(' .. first[1])
        if aged(before) then
          return first[1]
        end
        hi = before[1]
      end
    end
  end
end

redis.call('XTRIM', log, 'MAXLEN', ARGV[6])
local head = first_from('-', '+')
if head and aged(head) then
  local tail = last_until('+')
  if aged(tail) then
    redis.call('XTRIM', log, 'MAXLEN', 0)
  else
    redis.call('XTRIM', log, 'MINID', first_young(head[1], tail[1]))
  end
  head = first_from('-', '+')
end

-- A deletion takes out all before it, so only the oldest entry can be one. It is no message: one more is asked for.
local deleted = ''
if head and head[2][3] == 'd' then
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
return {last, known[3] or '', head and head[1] or '', deleted, more, entries}
