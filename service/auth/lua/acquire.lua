-- Take one token from a token bucket, for one request. KEYS[1]: the bucket, stored as the time when it is full again.
-- ARGV: requests that a full bucket holds, seconds to fill it.
-- Returns '0', or the seconds until the bucket holds a request: then nothing is counted.
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local fill_seconds = tonumber(ARGV[2])
local full_at = tonumber(redis.call('GET', KEYS[1]) or now)
full_at = math.min(math.max(full_at, now), now + fill_seconds) + fill_seconds / ARGV[1]
local wait_seconds = full_at - now - fill_seconds
if wait_seconds > 0.001 then
    return tostring(wait_seconds)
end
redis.call('SET', KEYS[1], string.format('%.6f', full_at), 'EX', fill_seconds + 1)
return '0'
