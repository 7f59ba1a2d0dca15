-- Forget the jobs whose time is over. ARGV: how many at most. Returns how many.
local now = time()
local due = redis.call('ZRANGEBYSCORE', key('expiry'), '-inf', exact(now), 'LIMIT', 0, ARGV[1])
for _, id in ipairs(due) do
    remove(id, now)
end
return #due
