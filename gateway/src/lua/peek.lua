#!lua flags=no-writes
-- How far a room has come, in messages and in presence. Cheaper than an answer that holds the entry.
--
-- KEYS  log, here
-- Gives {the last id the log ever had, `0-0` if there is no log; version of here, `0` if there is none}.

local version = redis.call('HGET', KEYS[2], '') or '0'
if redis.call('EXISTS', KEYS[1]) == 0 then
  return {'0-0', version}
end
local info = redis.call('XINFO', 'STREAM', KEYS[1])
for i = 1, #info, 2 do
  if info[i] == 'last-generated-id' then
    return {info[i + 1], version}
  end
end
