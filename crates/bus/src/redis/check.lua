-- The entry at an offset, and the publishes after it, for a process that has published or read the event at this offset.
--
-- KEYS  the topic's stream
-- ARGV  1 epoch and 2 n of the offset, 3 the maximum number of entries after it
-- gives {} when the entry is not kept, else {record, publish's id, {publish's id of each entry after it}}

local at = ARGV[1] .. '-' .. ARGV[2]
local entries = redis.call('XRANGE', KEYS[1], at, ARGV[1], 'COUNT', ARGV[3] + 1)
if not entries[1] or entries[1][1] ~= at then
    return {}
end
local ids = {}
for after = 2, #entries do
    ids[after - 1] = entries[after][2][4] or ''
end
return { entries[1][2][2], entries[1][2][4] or '', ids }
