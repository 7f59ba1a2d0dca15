-- Accept a job, or return why not. ARGV: id, max. waiting jobs, max. open jobs, kept jobs and stored
-- bytes of the client (-1: no limit), idempotency key or '', fingerprint of the request, seconds
-- until the key expires, then the record's fields.
-- Returns {'accepted', creation time}, {'earlier', job, its fingerprint} or {limit exceeded}.
local id, max_waiting, max_open = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local max_stored_jobs, max_stored = tonumber(ARGV[4]), tonumber(ARGV[5])
local idempotency, fingerprint, idempotency_seconds = ARGV[6], ARGV[7], ARGV[8]
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
for place = 9, #ARGV, 2 do
    fields[ARGV[place]] = ARGV[place + 1]
end
local client = fields.client_id or fields.owner
local limit = exceeded_limit(client, max_waiting, max_open)
if limit then
    return {limit}
end
if max_stored_jobs >= 0 and redis.call('ZCARD', key('index', client)) >= max_stored_jobs then
    return {'stored_jobs'}
end
local stored = tonumber(redis.call('HGET', key('stored'), client) or 0)
if max_stored >= 0 and stored + tonumber(fields.clip_bytes) > max_stored then
    return {'stored_bytes'}
end

-- Creation times are unique: a page of a listing ends at one.
local last = tonumber(redis.call('GET', key('last_created')) or 0)
created = format_number(math.max(time(), last + 2e-6))
redis.call('SET', key('last_created'), created)
redis.call('HSET', key('job', id), unpack(ARGV, 9))
redis.call('HSET', key('job', id), 'state', 'queued', 'created_at', created)
if idempotency ~= '' then
    redis.call('HSET', key('job', id), 'idempotency', idempotency)
    redis.call('DEL', key('idempotency', idempotency))
    redis.call('HSET', key('idempotency', idempotency), 'job', id, 'fingerprint', fingerprint)
    redis.call('EXPIRE', key('idempotency', idempotency), idempotency_seconds)
end
add_to_index(id, created)
add_to_index(id, created, 'queued')
add_stored_bytes(id, fields.clip_bytes)
enqueue(id)
append_event(id, 'state')
return {'accepted', created}
