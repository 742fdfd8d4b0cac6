#!lua
-- Begins the scripts that take out of a log what is too much or too old.
--
-- An entry is `<epoch>-<offset>` with the fields `<seconds> <microseconds> b1 <body>`: Redis's time, and the format version
-- in the body's name, which is `d1` for a deletion.

-- Gives the oldest entry that is left, if there is one.
local function trim(log, most_messages, most_ms)
  local time = redis.call('TIME')
  local oldest_ms = time[1] * 1000 + math.floor(time[2] / 1000) - most_ms

  local function aged(entry)
    return entry[2][1] * 1000 + math.floor(entry[2][2] / 1000) < oldest_ms
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
        local middle = lo_epoch .. '-' .. string.format('%.0f', math.floor((lo_offset + hi_offset) / 2))
        middle = first_from(middle, hi)
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

  redis.call('XTRIM', log, 'MAXLEN', most_messages)
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
  return head
end

