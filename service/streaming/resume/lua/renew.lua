-- Prolong the storage of a stream. KEYS: the stream's hash, the list of its last responses.
-- ARGV: the holder's id, milliseconds, the position received.
-- Returns 1; 0: another session holds the stream; -1: nothing is stored.
local holder = redis.call('HGET', KEYS[1], 'holder')
if not holder then
    return -1
end
if holder ~= ARGV[1] then
    return 0
end
redis.call('HSET', KEYS[1], 'received', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return 1
