-- Take over a stream. KEYS: the stream's hash, the list of its last responses. ARGV: owner, key of
-- the client's config, hash of the server's config, the new holder's id, milliseconds to store it.
-- Returns {'expired'}, {'server_changed'}, {'client_changed'}, or {'claimed', state, the position
-- received, number of responses so far, the last responses}.
local owner, client_config, server_config, state, received, response_count = unpack(redis.call('HMGET',
    KEYS[1], 'owner', 'client_config', 'server_config', 'state', 'received', 'response_count'))
if owner ~= ARGV[1] or not state then
    return {'expired'}
end
if server_config ~= ARGV[3] then
    return {'server_changed'}
end
if client_config ~= ARGV[2] then
    return {'client_changed'}
end
redis.call('HSET', KEYS[1], 'holder', ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
redis.call('PEXPIRE', KEYS[2], ARGV[5])
return {'claimed', state, received, response_count, redis.call('LRANGE', KEYS[2], 0, -1)}
