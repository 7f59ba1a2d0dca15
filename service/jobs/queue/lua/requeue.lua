-- Return a running job to the queue, now or after a delay. ARGV: id, attempt, delay in seconds,
-- then fields of the record. Returns the attempt's status.
local id, attempt, delay_seconds = ARGV[1], ARGV[2], tonumber(ARGV[3])
local last_attempt, state, started = read(id, 'attempt', 'state', 'attempt_started_at')
if last_attempt == attempt and state == 'queued' then
    return HELD
end
local status = attempt_status(id, attempt)
if status ~= HELD then
    return status
end
local now = time()
unschedule(id)
charge(client_of(id), now - tonumber(started) - EXPECTED_WORK)
redis.call('HSET', key('job', id), 'frames_done', 0, unpack(ARGV, 4))
if delay_seconds > 0 then
    local retry_at = format_number(now + delay_seconds)
    redis.call('HSET', key('job', id), 'retry_at', retry_at)
    redis.call('ZADD', key('delayed'), retry_at, id)
else
    enqueue(id)
end
set_state(id, 'queued')
return HELD
