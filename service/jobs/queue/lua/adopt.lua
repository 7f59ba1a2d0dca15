-- Take over a job as version 1 recorded it. ARGV: id, lease seconds, clip seconds, job seconds.
-- What a worker of version 1 has in hand gets one lease to end; it knows of no beat.
local id, lease_seconds, clip_seconds, job_seconds = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
if read(id, 'schema') ~= '1' then
    return 0
end
local now = time()
redis.call('HSET', key('job', id), 'schema', 2, 'owner', 'anyone', 'priority', 'bulk', 'result_bytes', 0)
local state, created, code, clip_bytes = read(id, 'state', 'created_at', 'error_code', 'clip_bytes')
list(id, 'anyone', created)
list(id, 'anyone', created, state)
if code then
    list(id, 'anyone', created, state, code)
end
store('anyone', clip_bytes)
if state == 'queued' then
    wait(id)
elseif state == 'running' then
    redis.call('ZADD', key('leases'), exact(now + lease_seconds), id)
else
    redis.call('HSET', key('job', id), 'expires_at', exact(now + job_seconds))
    redis.call('ZADD', key('expiry'), exact(now + job_seconds), id)
    redis.call('ZADD', key('clip_expiry'), exact(now + clip_seconds), id)
end
announce(id, 'state')
return 1
