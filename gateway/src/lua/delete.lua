#!lua
-- Deletes the stored messages of a room and tells it. One entry takes their place, with field `d1` and no body: it has a
-- position of its own, so that whoever missed the announcement finds a hole, and reads, in order, what happened.
--
-- KEYS  log
-- ARGV  1 channel  2 epoch
-- Gives the entry's id, '' if there was nothing to delete; or nil if the epoch has to be opened first.

local log = KEYS[1]
local head = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1]
if not head or (head[2][3] == 'd1' and redis.call('XLEN', log) == 1) then
  return ''
end
local time = redis.call('TIME')
local id = redis.pcall('XADD', log, 'NOMKSTREAM', ARGV[2] .. '-*', time[1], time[2], 'd1', '')
if type(id) == 'table' then
  -- As in publish.lua.
  if string.find(id.err, 'equal or smaller', 1, true) then
    return false
  end
  return id
end
redis.call('XTRIM', log, 'MINID', id)
redis.call('SPUBLISH', ARGV[1], '1d' .. id .. '\n')
return id
