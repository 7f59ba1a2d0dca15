-- Give a worker its next job. ARGV: worker, token, lease seconds, most lost workers of a job, the
-- error code and detail of giving up, clip seconds, job seconds, 1: only what lost its worker.
-- The token makes the same claim again (its answer was lost) the claim it was, or none where
-- another attempt has followed meanwhile.
-- Returns {ids of the jobs that are given up, how many attempts lost their worker, the record or {}}.
local worker, token, lease_seconds, max_lost = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local code, detail, clip_seconds, job_seconds = ARGV[5], ARGV[6], tonumber(ARGV[7]), tonumber(ARGV[8])
local MAX_AT_ONCE = 100
local now = time()
local given_up, lost = {}, 0

local function take(id)
    local attempt = redis.call('HINCRBY', key('job', id), 'attempt', 1)
    redis.call('HSETNX', key('job', id), 'started_at', exact(now))
    redis.call('HSET', key('job', id), 'attempt_started_at', exact(now), 'frames_done', 0, 'worker', worker)
    redis.call('HDEL', key('job', id), 'retry_at')
    redis.call('ZADD', key('leases'), exact(now + lease_seconds), id)
    redis.call('HSET', key('claim', token), 'job', id, 'attempt', attempt)
    redis.call('EXPIRE', key('claim', token), 60)
    restate(id, 'running')
    return {given_up, lost, redis.call('HGETALL', key('job', id))}
end

-- A worker of version 1 has had the job meanwhile and keeps none of these books.
local function catch_up(id)
    local state, failure = read(id, 'state', 'error_code')
    if state == 'running' then
        redis.call('ZADD', key('leases'), exact(now + lease_seconds), id)
        restate(id, state)
    elseif state == 'queued' then
        redis.call('ZREM', key('leases'), id)
        wait(id)
        restate(id, state)
    else
        finish(id, state, now, clip_seconds, job_seconds, failure)
    end
end

local claimed, attempt = unpack(redis.call('HMGET', key('claim', token), 'job', 'attempt'))
if claimed then
    local is_held = standing(claimed, attempt) == HELD
    return {given_up, lost, is_held and redis.call('HGETALL', key('job', claimed)) or {}}
end
keep_pulse(now, lease_seconds)

for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('delayed'), '-inf', exact(now), 'LIMIT', 0, MAX_AT_ONCE)) do
    redis.call('ZREM', key('delayed'), id)
    wait(id)
end

for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('leases'), '-inf', exact(now), 'LIMIT', 0, MAX_AT_ONCE)) do
    if read(id, 'state') ~= 'running' then
        catch_up(id)
    else
        lost = lost + 1
        if redis.call('HINCRBY', key('job', id), 'lost', 1) < max_lost then
            return take(id)
        end
        redis.call('HSET', key('job', id), 'error_detail', detail)
        finish(id, 'failed', now, clip_seconds, job_seconds, code)
        given_up[#given_up + 1] = id
    end
end

local waiting = ARGV[9] ~= '1' and next_waiting()
while waiting do
    if read(waiting, 'state') == 'queued' then
        return take(waiting)
    end
    catch_up(waiting)
    waiting = next_waiting()
end
return {given_up, lost, {}}
