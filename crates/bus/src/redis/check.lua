-- What is kept from one offset on, for a process that knows which event had this offset.
--
-- KEYS  the topic's stream
-- ARGV  1 epoch and 2 n of the offset, 3 the most entries behind it
-- gives {} when the entry is not kept, else {record, publish's id, {publish's id of each entry behind it}}

local at = ARGV[1] .. '-' .. ARGV[2]
local entries = redis.call('XRANGE', KEYS[1], at, ARGV[1], 'COUNT', ARGV[3] + 1)
if not entries[1] or entries[1][1] ~= at then
    return {}
end
local ids = {}
for behind = 2, #entries do
    ids[behind - 1] = entries[behind][2][4] or ''
end
return { entries[1][2][2], entries[1][2][4] or '', ids }
