-- Appends one event to a topic and announces it. Everything in here happens at once, or not at all.
--
-- KEYS  the topic's stream, its head
-- ARGV  1 the event as field 1 of a record, 2 '1' if it is final, 3 the publish's id, 4 '1' if it may have been sent before,
--       5 retention in ms, 6 the most events to keep, 7 the channel
-- gives {1, epoch, n} when it is there, {0, epoch, n of the final event} when the topic was closed before

local stream, head = KEYS[1], KEYS[2]
local event, final, id, again = ARGV[1], ARGV[2] == '1', ARGV[3], ARGV[4] == '1'
local known = redis.call('HMGET', head, 'epoch', 'n', 'closed', 'late')
local epoch, n, closed, late = tonumber(known[1] or 0), tonumber(known[2] or 0), known[3], known[4]

-- The answer to an earlier attempt was lost: did the attempt arrive? It is among the latest events, if so.
if again then
    for _, entry in ipairs(redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 256)) do
        if entry[2][4] == id then
            return { 1, epoch, tonumber(string.match(entry[1], '%d+$')) }
        end
    end
end
-- The first attempt was delayed on its way, and arrives behind the second: nobody waits for this answer.
if late and not again then
    for at = 1, #late, #id do
        if string.sub(late, at, at + #id - 1) == id then
            return { 1, epoch, n }
        end
    end
end

if closed then
    return { 0, epoch, tonumber(closed) }
end

if n == 0 then
    -- The topic's birth. A stream without a head is what eviction or a forgetful restart left; its numbers are over.
    local orphan = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
    if orphan then
        epoch = math.max(epoch, tonumber(string.match(orphan[1], '^%d+')))
        redis.call('DEL', stream)
    end
    local time = redis.call('TIME')
    epoch = math.max(epoch + 1, time[1] * 1000 + math.floor(time[2] / 1000))
end
n = n + 1

-- What Record::to_bytes writes behind the event: fixed64 epoch, fixed64 n, and the mark of the end.
local record = event .. '\17' .. struct.pack('<I8', epoch) .. '\25' .. struct.pack('<I8', n)
if final then
    record = record .. '\32\1'
end
local epoch_text, n_text = string.format('%.0f', epoch), string.format('%.0f', n)
redis.call('XADD', stream, 'MAXLEN', '=', ARGV[6], epoch_text .. '-' .. n_text, 'r', record, 'i', id)
redis.call('HSET', head, 'epoch', epoch_text, 'n', n_text)
if final then
    redis.call('HSET', head, 'closed', n_text)
end
if again then
    redis.call('HSET', head, 'late', string.sub((late or '') .. id, -16 * #id))
end
redis.call('PEXPIRE', stream, ARGV[5])
redis.call('PEXPIRE', head, ARGV[5])
redis.call('PUBLISH', ARGV[7], record)
return { 1, epoch, n }
