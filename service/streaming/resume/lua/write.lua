-- Keep a stream's state and the results that are told next, unless another holds it. KEYS: the
-- stream's hash, its list of told results. ARGV: the holder's mark, owner, terms, recipe,
-- milliseconds it is kept, state, what has been received, how many results are kept, the number
-- of the first of these results, the results. Returns 1, or 0: another holds it.
local holder = redis.call('HGET', KEYS[1], 'holder')
if holder and holder ~= ARGV[1] then
    return 0
end
local first, results = tonumber(ARGV[9]), 9
local entries = tonumber(redis.call('HGET', KEYS[1], 'entries') or first)
for place = results + 1, #ARGV do
    if first + place - results - 1 >= entries then -- not when this is sent a second time
        redis.call('RPUSH', KEYS[2], ARGV[place])
    end
end
redis.call('LTRIM', KEYS[2], -tonumber(ARGV[8]), -1)
redis.call('HSET', KEYS[1], 'holder', ARGV[1], 'owner', ARGV[2], 'terms', ARGV[3], 'recipe', ARGV[4],
    'state', ARGV[6], 'received', ARGV[7], 'entries', first + #ARGV - results)
redis.call('PEXPIRE', KEYS[1], ARGV[5])
redis.call('PEXPIRE', KEYS[2], ARGV[5])
return 1
