-- Give an idempotency key back that has come to nothing. ARGV: key, token.
local name = key('idempotency', ARGV[1])
if redis.call('HGET', name, 'token') == ARGV[2] then
    redis.call('DEL', name)
end
