-- Renew an attempt's lease and say how far it is. ARGV: id, attempt, lease seconds, frames done,
-- frames in all or ''. Returns the attempt's standing.
local id, attempt, lease_seconds, done, total = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]
local now = time()
keep_pulse(now, lease_seconds)
local stands = standing(id, attempt)
if stands ~= HELD then
    return stands
end
redis.call('ZADD', key('leases'), exact(now + lease_seconds), id)
local done_before, announced = read(id, 'frames_done', 'announced_at')
if done ~= done_before then
    redis.call('HSET', key('job', id), 'frames_done', done)
    if total ~= '' then
        redis.call('HSET', key('job', id), 'frames_total', total)
    end
    if now - tonumber(announced) >= PROGRESS_SECONDS then
        announce(id, 'progress')
    end
end
return HELD
