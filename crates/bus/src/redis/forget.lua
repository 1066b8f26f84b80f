-- Removes a topic. Its head is kept for a while, so that an epoch that begins in the same millisecond gets another number.
--
-- KEYS  the topic's stream, its head
-- ARGV  1 how long to keep the epoch, in ms, 2 the channel

redis.call('DEL', KEYS[1])
if redis.call('EXISTS', KEYS[2]) == 1 then
    redis.call('HSET', KEYS[2], 'n', 0)
    redis.call('HDEL', KEYS[2], 'closed', 'late', 'lost')
    redis.call('PEXPIRE', KEYS[2], ARGV[1])
end
-- Bytes that are not a record make followers read history.
redis.call('PUBLISH', ARGV[2], '')
return 1
