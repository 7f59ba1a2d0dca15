-- Return a job to the waiting room, at once or later. ARGV: id, attempt, delay seconds, then
-- fields of the record. Returns the attempt's standing.
local id, attempt, delay_seconds = ARGV[1], ARGV[2], tonumber(ARGV[3])
local held, state, owner, started = read(id, 'attempt', 'state', 'owner', 'attempt_started_at')
if held == attempt and state == 'queued' then
    return HELD
end
local stands = standing(id, attempt)
if stands ~= HELD then
    return stands
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
return HELD
