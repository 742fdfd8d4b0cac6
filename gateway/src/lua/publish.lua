#!lua
-- Stores one message of a room and fans it out: the usual publish, as short as can be. `publish_full` has the options.
--
-- KEYS  log
-- ARGV  1 channel  2 epoch and `-*`  3 body  4 most messages kept
-- Gives the message's id; or nil if the epoch has to be opened first.
--
-- Redis's time is kept as it comes, seconds and microseconds: putting it together costs as much as asking for it.

local call, argv = redis.call, ARGV
local time = call('TIME')
local id = redis.pcall('XADD', KEYS[1], 'NOMKSTREAM', argv[2], time[1], time[2], 'b1', argv[3])
if type(id) ~= 'string' then
  -- The only refusal that opening the epoch cures: another gateway has opened a higher one.
  if not id or string.find(id.err, 'equal or smaller', 1, true) then
    return false
  end
  return id
end
-- Every tenth one takes out what is too much: that costs less than looking each time.
if string.byte(id, -1) == 48 then
  call('XTRIM', KEYS[1], 'MAXLEN', '~', argv[4])
end
call('SPUBLISH', argv[1], '1m' .. id .. ' ' .. time[1] .. ' ' .. time[2] .. '\n' .. argv[3])
return id
