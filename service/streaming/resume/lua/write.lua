-- Store a stream's state and its next responses, unless another session holds the stream.
-- KEYS: the stream's hash, the list of its last responses. ARGV: the holder's id, owner, key of the
-- client's config, hash of the server's config, milliseconds to store them, state, the position
-- received, max. number of stored responses, index of the first of these responses, the responses.
-- Returns 1, or 0: another session holds the stream.
local FIRST_RESPONSE = 10
local holder = redis.call('HGET', KEYS[1], 'holder')
if holder and holder ~= ARGV[1] then
    return 0
end
local first_index = tonumber(ARGV[9])
local response_count = tonumber(redis.call('HGET', KEYS[1], 'response_count') or first_index)
for place = FIRST_RESPONSE, #ARGV do
    if first_index + place - FIRST_RESPONSE >= response_count then -- else sent a second time
        redis.call('RPUSH', KEYS[2], ARGV[place])
    end
end
redis.call('LTRIM', KEYS[2], -tonumber(ARGV[8]), -1)
redis.call('HSET', KEYS[1], 'holder', ARGV[1], 'owner', ARGV[2], 'client_config', ARGV[3], 'server_config', ARGV[4],
    'state', ARGV[6], 'received', ARGV[7], 'response_count', first_index + #ARGV - FIRST_RESPONSE + 1)
redis.call('PEXPIRE', KEYS[1], ARGV[5])
redis.call('PEXPIRE', KEYS[2], ARGV[5])
return 1
