-- Mark the expired clips of ended jobs as dropped: those jobs cannot be retried any more.
-- ARGV: max. number of clips. Returns the ids, until the deletion of their clips is reported.
local due = redis.call('ZRANGEBYSCORE', key('clip_expiry'), '-inf', format_number(time()), 'LIMIT', 0, ARGV[1])
for _, id in ipairs(due) do
    drop_clip(id)
end
return due
