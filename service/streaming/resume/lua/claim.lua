-- Take a stream over. KEYS: the stream's hash, its list of told results. ARGV: owner, terms,
-- recipe, the new holder's mark, milliseconds it is kept.
-- Returns 'gone', 'changed' or 'other'; or 'held', the state, what had been received, how many
-- entries the list has had, and those that are left.
local owner, terms, recipe, state, received, entries =
    unpack(redis.call('HMGET', KEYS[1], 'owner', 'terms', 'recipe', 'state', 'received', 'entries'))
if owner ~= ARGV[1] or not state then
    return {'gone'}
end
if recipe ~= ARGV[3] then
    return {'changed'}
end
if terms ~= ARGV[2] then
    return {'other'}
end
redis.call('HSET', KEYS[1], 'holder', ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
redis.call('PEXPIRE', KEYS[2], ARGV[5])
return {'held', state, received, entries, redis.call('LRANGE', KEYS[2], 0, -1)}
