-- Remove expired jobs. ARGV: max. number of jobs. Returns their number.
local now = time()
local due = redis.call('ZRANGEBYSCORE', key('expiry'), '-inf', format_number(now), 'LIMIT', 0, ARGV[1])
for _, id in ipairs(due) do
    remove(id, now)
end
return #due
