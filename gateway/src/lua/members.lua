#!lua flags=no-writes
-- Who is in a room: everyone while that is a moderate number, otherwise a part of about the size asked for.
--
-- KEYS  here
-- ARGV  1 number up to which all are given  2 most asked for
-- Gives {fields in here, alternating users and their gateways}.

local size = redis.call('HLEN', KEYS[1])
if size <= tonumber(ARGV[1]) then
  return {size, redis.call('HGETALL', KEYS[1])}
end
local part, cursor = {}, '0'
repeat
  local page = redis.call('HSCAN', KEYS[1], cursor, 'COUNT', 100)
  cursor = page[1]
  for i = 1, #page[2] do
    part[#part + 1] = page[2][i]
  end
until cursor == '0' or #part > 2 * ARGV[2]
return {size, part}
