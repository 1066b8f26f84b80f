-- Marks a topic whose newest events were lost: its next publish starts a new epoch. The remaining events can be read until then.
--
-- The caller has read an event of this epoch from Redis, and has found later that Redis does not have it. This stays true until the
-- epoch ends, because events are only appended to an epoch.
--
-- KEYS  the topic's head
-- ARGV  1 the epoch

if redis.call('HGET', KEYS[1], 'epoch') == ARGV[1] then
    redis.call('HSET', KEYS[1], 'lost', 1)
    return 1
end
return 0
