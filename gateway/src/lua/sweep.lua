#!lua
-- Takes members of dead gateways out of a room, a page at a time, and tells who has left by that. Whoever comes second
-- finds nothing left to tell.
--
-- A gateway's id begins with the milliseconds at which it was made. Dead is who is named so, and who is neither known to
-- live nor young enough to be unknown.
--
-- KEYS  here
-- ARGV  1 channel  2 cursor  3 page size  4 living gateways, parted by spaces  5 unknown ones made before this are dead
--       6 milliseconds until an empty here expires  7 last sign of life of unknown ones
--       then pairs: dead gateway, its last sign of life
-- Gives the next cursor.

local here = KEYS[1]
local living = ' ' .. ARGV[4] .. ' '
local dead = {}
for i = 8, #ARGV, 2 do
  dead[ARGV[i]] = tonumber(ARGV[i + 1])
end

local function died(id)
  if dead[id] then
    return dead[id]
  end
  if string.find(living, ' ' .. id .. ' ', 1, true) then
    return nil
  end
  if tonumber(string.match(id, '^%d+') or 0) < tonumber(ARGV[5]) then
    return tonumber(ARGV[7])
  end
end

local page = redis.call('HSCAN', here, ARGV[2], 'COUNT', ARGV[3])
local left = {}
for i = 1, #page[2], 2 do
  local user, before = page[2][i], page[2][i + 1]
  if user ~= '' then
    local after, last_seen = '', 0
    for id, lingers in string.gmatch(before, '(%S+)=(%d+)') do
      local at = died(id)
      if at then
        last_seen = math.max(last_seen, at)
      else
        after = after .. ' ' .. id .. '=' .. lingers
      end
    end
    if after == '' then
      redis.call('HDEL', here, user)
      left[#left + 1] = {user, last_seen}
    elseif last_seen > 0 then
      redis.call('HSET', here, user, string.sub(after, 2))
    end
  end
end
if #left > 0 then
  local time = redis.call('TIME')
  local previous = redis.call('HGET', here, '') or '0'
  local version = string.format('%.0f', math.max(time[1] * 1000000 + time[2], previous + 1))
  redis.call('HSET', here, '', version)
  local count = redis.call('HLEN', here) - 1
  if count == 0 then
    redis.call('PEXPIRE', here, ARGV[6])
  end
  redis.call('SPUBLISH', ARGV[1], '1p' .. version .. ' ' .. previous .. '\n' .. cjson.encode({l = left, c = count}))
end
return page[1]
