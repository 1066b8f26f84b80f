-- Appends one event to a topic and publishes it on the channel of the topic, atomically.
--
-- KEYS  the topic's stream, its head
-- ARGV  1 the event as field 1 of a record, 2 '1' if it is final, 3 the publish's id, 4 '1' if it may have been sent before,
--       5 retention after this event in ms, 6 the maximum number of events to keep, 7 the channel, 8 the run id of this Redis process ('' if unknown),
--       9 '1' if it is appended only as the first event, 10 the head that the publisher has checked ('' if none), 11 '1' if no event after
--       that head was lost
-- gives {1, epoch, n} when the event was appended, {0, epoch, n of the final event} when the topic was closed before,
--       {2, epoch, n of the head} when the publisher must first check whether events after that head were lost,
--       {3, epoch, n of the head} when the topic has events and this one is appended only as the first event

local stream, head = KEYS[1], KEYS[2]
local event, final, id, again, run = ARGV[1], ARGV[2] == '1', ARGV[3], ARGV[4] == '1', ARGV[8]
local known = redis.call('HMGET', head, 'epoch', 'n', 'closed', 'late', 'run', 'lost')
local epoch, n, closed, late = tonumber(known[1] or 0), tonumber(known[2] or 0), known[3], known[4]

-- The answer to an earlier attempt was lost. If the attempt arrived, its event is among the latest entries.
if again then
    for _, entry in ipairs(redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 256)) do
        if entry[2][4] == id then
            return { 1, epoch, tonumber(string.match(entry[1], '%d+$')) }
        end
    end
end
-- The first attempt was delayed and arrives after the second one: no caller waits for this answer.
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

-- Also when events may be lost: readers can read the others until the next publish starts a new epoch.
if ARGV[9] == '1' and n > 0 then
    return { 3, epoch, n }
end

-- Another Redis process wrote this head: the newest events may be lost. The offset of a lost event must not be used again, so a
-- topic that is not known to be complete starts a new epoch.
local another = run ~= '' and known[5] and known[5] ~= run
if n > 0 and (known[6] or another) then
    local checked = ARGV[10] == known[1] .. '-' .. known[2]
    if known[6] or (checked and ARGV[11] ~= '1') then
        n = 0
        redis.call('HDEL', head, 'lost')
    elseif not checked then
        return { 2, epoch, n }
    end
end
if run ~= '' and (n == 0 or another) then
    redis.call('HSET', head, 'run', run)
end

if n == 0 then
    -- A new epoch. The stream can have entries of an earlier epoch if events were lost, or if the head was evicted or lost.
    local orphan = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
    if orphan then
        epoch = math.max(epoch, tonumber(string.match(orphan[1], '^%d+')))
        redis.call('DEL', stream)
    end
    local time = redis.call('TIME')
    epoch = math.max(epoch + 1, time[1] * 1000 + math.floor(time[2] / 1000))
end
n = n + 1

-- The fields that record::encode writes after the event: fixed64 epoch, fixed64 n, and bool final.
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
