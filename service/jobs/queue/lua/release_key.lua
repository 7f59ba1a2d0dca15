-- Release an idempotency key whose upload was abandoned. ARGV: key, token.
local name = key('idempotency', ARGV[1])
if redis.call('HGET', name, 'token') == ARGV[2] then
    redis.call('DEL', name)
end
