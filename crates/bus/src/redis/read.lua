-- One page of a topic's history, with the head and the first record of the same moment, so that no gap is missed.
--
-- KEYS  the topic's stream, its head
-- ARGV  1 epoch and 2 n of the offset to read after (0 and 0: from the first record), 3 the maximum number of records, 4 of bytes
-- gives {} when there is no such topic, else {epoch, n, closed or 0, first n, record at the offset or '', {n, record, …}}

local stream, head = KEYS[1], KEYS[2]
local known = redis.call('HMGET', head, 'epoch', 'n', 'closed')
local epoch, n = known[1], tonumber(known[2] or 0)
if n == 0 then
    return {}
end

local function number(entry)
    return tonumber(string.match(entry[1], '%d+$'))
end

-- An id without a number stands for the first or the last entry of its epoch.
local oldest = redis.call('XRANGE', stream, epoch, epoch, 'COUNT', 1)[1]
local first = oldest and number(oldest) or n + 1

-- The record at the offset is read as well: a follower that has delivered it checks whether it is still the same.
local after, from = 0, epoch
if ARGV[1] == epoch and tonumber(ARGV[2]) <= n then
    after, from = tonumber(ARGV[2]), epoch .. '-' .. ARGV[2]
end
local seen, page, bytes = '', {}, 0
for _, entry in ipairs(redis.call('XRANGE', stream, from, epoch, 'COUNT', ARGV[3] + 1)) do
    local at, record = number(entry), entry[2][2]
    if at == after then
        seen = record
    elseif #page == 2 * ARGV[3] or (bytes + #record > tonumber(ARGV[4]) and bytes > 0) then
        break
    else
        bytes = bytes + #record
        page[#page + 1] = at
        page[#page + 1] = record
    end
end
return { tonumber(epoch), n, tonumber(known[3] or 0), first, seen, page }
