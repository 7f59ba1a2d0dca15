-- Mark the expired clips of ended jobs as dropped: those jobs cannot be retried any more.
-- ARGV: max. number of clips. Returns the ids, until the deletion of their clips is reported.
local due = redis.call('ZRANGEBYSCORE', key('clip_expiry'), '-inf', format_number(time()), 'LIMIT', 0, ARGV[1])
for _, id in ipairs(due) do
    local owner, clip_bytes, dropped = read(id, 'owner', 'clip_bytes', 'clip_dropped')
    if not dropped then
        redis.call('HSET', key('job', id), 'clip_dropped', 1)
        add_stored_bytes(owner, -tonumber(clip_bytes))
    end
end
return due
