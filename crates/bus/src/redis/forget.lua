-- Ends a topic's retention now. The head stays for a while, so that a topic born in this very millisecond gets another epoch.
--
-- KEYS  the topic's stream, its head
-- ARGV  1 how long to remember the epoch, in ms, 2 the channel

redis.call('DEL', KEYS[1])
if redis.call('EXISTS', KEYS[2]) == 1 then
    redis.call('HSET', KEYS[2], 'n', 0)
    redis.call('HDEL', KEYS[2], 'closed', 'late', 'lost')
    redis.call('PEXPIRE', KEYS[2], ARGV[1])
end
-- What is not a record makes followers look for themselves.
redis.call('PUBLISH', ARGV[2], '')
return 1
