-- Renew an attempt's lease and record its progress. ARGV: id, attempt, lease seconds, frames done,
-- total frames or ''. Returns the attempt's status.
local id, attempt, lease_seconds, done, total = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]
local now = time()
record_contact(now, lease_seconds)
local status = attempt_status(id, attempt)
if status ~= HELD then
    return status
end
redis.call('ZADD', key('leases'), format_number(now + lease_seconds), id)
local last_done, last_event_at = read(id, 'frames_done', 'last_event_at')
if done ~= last_done then
    redis.call('HSET', key('job', id), 'frames_done', done)
    if total ~= '' then
        redis.call('HSET', key('job', id), 'frames_total', total)
    end
    if now - tonumber(last_event_at) >= PROGRESS_SECONDS then
        append_event(id, 'progress')
    end
end
return HELD
