#!lua
-- Deletes the stored messages of a room and tells it. The stream stays, and with it the last id: numbering goes on.
--
-- KEYS  log
-- ARGV  1 channel

if redis.call('EXISTS', KEYS[1]) == 0 then
  return
end
local info = redis.call('XINFO', 'STREAM', KEYS[1])
for i = 1, #info, 2 do
  if info[i] == 'last-generated-id' and string.sub(info[i + 1], -2) ~= '-0' then
    redis.call('XTRIM', KEYS[1], 'MAXLEN', 0)
    redis.call('SPUBLISH', ARGV[1], '1d' .. info[i + 1] .. '\n')
  end
end
