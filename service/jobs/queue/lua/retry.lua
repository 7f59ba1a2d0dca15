-- Queue a failed or cancelled job anew. ARGV: id, most waiting jobs, most open jobs of the owner.
-- Returns a verdict.
local id, max_waiting, max_open = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local state, owner, dropped = read(id, 'state', 'owner', 'clip_dropped')
if not state then
    return 'unknown'
end
if state == 'queued' then
    return 'accepted'
end
if state ~= 'failed' and state ~= 'cancelled' then
    return state
end
if dropped then
    return 'clip_dropped'
end
local refused = refusal(owner, max_waiting, max_open)
if refused then
    return refused
end
unlist(id)
redis.call('HDEL', key('job', id), 'error_code', 'error_detail', 'finished_at', 'expires_at', 'frames_total')
redis.call('HSET', key('job', id), 'lost', 0, 'deferrals', 0, 'frames_done', 0)
redis.call('ZREM', key('expiry'), id)
redis.call('ZREM', key('clip_expiry'), id)
wait(id)
restate(id, 'queued')
return 'accepted'
