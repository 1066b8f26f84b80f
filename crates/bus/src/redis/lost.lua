-- Marks a topic whose newest events were lost: its next publish starts a new epoch. What is left can be read until then.
--
-- The caller has read an event of this epoch from Redis, and has found since that Redis does not have it. That finding stays
-- true for as long as the epoch lasts, because an epoch is only ever appended to.
--
-- KEYS  the topic's head
-- ARGV  1 the epoch

if redis.call('HGET', KEYS[1], 'epoch') == ARGV[1] then
    redis.call('HSET', KEYS[1], 'lost', 1)
    return 1
end
return 0
