#!lua
-- Deletes the stored messages of a room and tells it. One entry takes their place, with field `d` and no body: it has a
-- position of its own, so that whoever missed the announcement finds a hole, and reads, in order, what happened.
--
-- KEYS  log
-- ARGV  1 channel  2 epoch
-- Gives the entry's id, '' if there was nothing to delete; or nil if the epoch has to be opened first.

local log = KEYS[1]
local head = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1]
if not head or (head[2][3] == 'd' and redis.call('XLEN', log) == 1) then
  return ''
end
local time = redis.call('TIME')
local now = time[1] .. string.sub('000000' .. time[2], -6, -4)
local id = redis.pcall('XADD', log, 'NOMKSTREAM', ARGV[2] .. '-*', 't1', now, 'd', '')
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
