-- Takes out of a log what is too much or too old, and has the room's keys live on.
--
-- KEYS  log, top
-- ARGV  1 most messages kept  2 most milliseconds kept  3 milliseconds until log expires  4 the same for top

if redis.call('EXISTS', KEYS[1]) == 1 then
  trim(KEYS[1], ARGV[1], ARGV[2])
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
redis.call('PEXPIRE', KEYS[2], ARGV[4])
