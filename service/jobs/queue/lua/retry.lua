-- Queue a failed or cancelled job again. ARGV: id, max. waiting jobs, max. open jobs of the client.
-- Returns 'accepted', 'unknown', 'clip_dropped', the exceeded limit, or the state that forbids it.
local id, max_waiting, max_open = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local state, dropped = read(id, 'state', 'clip_dropped')
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
local limit = exceeded_limit(client_of(id), max_waiting, max_open)
if limit then
    return limit
end
remove_from_state_indices(id)
redis.call('HDEL', key('job', id), 'error_code', 'error_detail', 'finished_at', 'expires_at', 'frames_total')
redis.call('HSET', key('job', id), 'lost', 0, 'deferrals', 0, 'frames_done', 0)
redis.call('ZREM', key('expiry'), id)
redis.call('ZREM', key('clip_expiry'), id)
enqueue(id)
set_state(id, 'queued')
return 'accepted'
