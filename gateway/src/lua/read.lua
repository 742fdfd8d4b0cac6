-- Reads stored messages and the state of the log in the same instant, after taking out what is too much or too old.
--
-- KEYS  log, top
-- ARGV  1 replid of the primary  2 first id  3 last id  4 'up' or 'down'  5 most messages given
--       6 most messages kept  7 most milliseconds kept  8 most bytes given, unless the first message has more
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

-- A deletion takes out all before it, so only the oldest entry can be one. It is no message.
local deleted = ''
if head and head[2][3] == 'd1' then
  deleted = head[1]
end

-- Read in parts, so that what isn't given isn't held here either.
local most, most_bytes = tonumber(ARGV[5]), tonumber(ARGV[8])
local part = math.min(most + 2, 64)
local first, final = ARGV[2], ARGV[3]
local entries, bytes, more = {}, 0, 0
repeat
  local read
  if ARGV[4] == 'up' then
    read = redis.call('XRANGE', log, first, final, 'COUNT', part)
  else
    read = redis.call('XREVRANGE', log, final, first, 'COUNT', part)
  end
  for _, entry in ipairs(read) do
    if entry[1] ~= deleted then
      for _, field in ipairs(entry[2]) do
        bytes = bytes + #field
      end
      if #entries == most or (#entries > 0 and bytes > most_bytes) then
        more = 1
        break
      end
      entries[#entries + 1] = entry
    end
  end
  if #read > 0 then
    local beyond = '(' .. read[#read][1]
    if ARGV[4] == 'up' then first = beyond else final = beyond end
  end
until more == 1 or #read < part
return {last, known[3] or '', known[3] and known[4] == known[3] and 1 or 0, head and head[1] or '', deleted, more, entries}
