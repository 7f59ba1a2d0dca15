-- Take the clips whose time is over from their jobs; from here on none can be tried again.
-- ARGV: how many at most. Returns the ids; they stay due until their clips are reported deleted.
local due = redis.call('ZRANGEBYSCORE', key('clip_expiry'), '-inf', exact(time()), 'LIMIT', 0, ARGV[1])
for _, id in ipairs(due) do
    local owner, clip_bytes, dropped = read(id, 'owner', 'clip_bytes', 'clip_dropped')
    if not dropped then
        redis.call('HSET', key('job', id), 'clip_dropped', 1)
        store(owner, -tonumber(clip_bytes))
    end
end
return due
