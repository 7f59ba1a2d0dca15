-- Keep what is kept of a stream for longer. KEYS: the stream's hash, its list of told results.
-- ARGV: the holder's mark, milliseconds, what has been received.
-- Returns 1; 0: another holds it; -1: nothing is kept.
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
