-- Return a job to the waiting room, at once or later. ARGV: id, attempt, delay seconds, then
-- fields of the record. Returns whether the attempt had the job.
local id, attempt, delay_seconds = ARGV[1], ARGV[2], tonumber(ARGV[3])
local held, state, owner, started = read(id, 'attempt', 'state', 'owner', 'attempt_started_at')
if held == attempt and state == 'queued' then
    return 1
end
if not holds(id, attempt) then
    return 0
end
local now = time()
leave(id)
charge(owner, now - tonumber(started) - USUAL_COST)
redis.call('HSET', key('job', id), 'frames_done', 0, unpack(ARGV, 4))
if delay_seconds > 0 then
    redis.call('HSET', key('job', id), 'retry_at', exact(now + delay_seconds))
    redis.call('ZADD', key('delayed'), exact(now + delay_seconds), id)
else
    wait(id)
end
restate(id, 'queued')
return 1
