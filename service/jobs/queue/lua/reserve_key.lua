-- Reserve an idempotency key for one upload. ARGV: key, token, seconds until it expires.
-- Returns {'reserved'}, {'in_use', seconds left} or {'earlier', job, fingerprint}.
local name, token = key('idempotency', ARGV[1]), ARGV[2]
local earlier = redis.call('HMGET', name, 'job', 'fingerprint', 'token')
if earlier[1] then
    return {'earlier', earlier[1], earlier[2]}
end
if earlier[3] and earlier[3] ~= token then
    return {'in_use', redis.call('TTL', name)}
end
redis.call('HSET', name, 'token', token)
redis.call('EXPIRE', name, ARGV[3])
return {'reserved'}
