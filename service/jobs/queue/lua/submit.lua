-- Accept a job, or say why not. ARGV: id, most waiting jobs, most open jobs of the owner, most
-- stored bytes of the owner (-1: no limit), idempotency key or '', its fingerprint, its seconds,
-- then the record's fields. Returns {verdict, creation time or the earlier job, its fingerprint}.
local id, max_waiting, max_open, max_stored = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local idempotency, fingerprint, idempotency_seconds = ARGV[5], ARGV[6], ARGV[7]
local created = read(id, 'created_at')
if created then
    return {'accepted', created}
end
if idempotency ~= '' then
    local earlier = redis.call('HMGET', key('idempotency', idempotency), 'job', 'fingerprint')
    if earlier[1] then
        return {'earlier', earlier[1], earlier[2]}
    end
end

local fields = {}
for place = 8, #ARGV, 2 do
    fields[ARGV[place]] = ARGV[place + 1]
end
local owner = fields.owner
local refused = refusal(owner, max_waiting, max_open)
if refused then
    return {refused}
end
local stored = tonumber(redis.call('HGET', key('stored'), owner) or 0)
if max_stored >= 0 and stored + tonumber(fields.clip_bytes) > max_stored then
    return {'stored_bytes'}
end

-- No two jobs are created at one moment: a page of a list ends at one.
local last = tonumber(redis.call('GET', key('last_created')) or 0)
created = exact(math.max(time(), last + 2e-6))
redis.call('SET', key('last_created'), created)
redis.call('HSET', key('job', id), unpack(ARGV, 8))
redis.call('HSET', key('job', id), 'state', 'queued', 'created_at', created)
if idempotency ~= '' then
    redis.call('HSET', key('job', id), 'idempotency', idempotency)
    redis.call('DEL', key('idempotency', idempotency))
    redis.call('HSET', key('idempotency', idempotency), 'job', id, 'fingerprint', fingerprint)
    redis.call('EXPIRE', key('idempotency', idempotency), idempotency_seconds)
end
list(id, owner, created)
list(id, owner, created, 'queued')
store(owner, fields.clip_bytes)
wait(id)
announce(id, 'state')
return {'accepted', created}
