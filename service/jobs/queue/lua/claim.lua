-- Give a worker its next job: one whose lease has ended, else the next waiting one.
-- ARGV: worker, token, lease seconds, max. lost workers of a job, error code and detail of a job
-- that reaches it, seconds until clips expire, seconds until jobs expire, 1: no waiting jobs, max.
-- running jobs of a client (-1: no limit), 1: only a waiting job of a client that runs none.
-- A claim sent again with its token (its response was lost) returns the same attempt, or none once
-- another attempt has followed.
-- Returns {ids of the jobs that have failed, number of attempts whose lease has ended, record or {}}.
local worker, token, lease_seconds, max_lost = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local code, detail, clip_seconds, job_seconds = ARGV[5], ARGV[6], tonumber(ARGV[7]), tonumber(ARGV[8])
local only_lost, max_running, only_newcomers = ARGV[9] == '1', tonumber(ARGV[10] or -1), ARGV[11] == '1'
local BATCH_SIZE = 100
local now = time()
local exhausted, lost = {}, 0

local function start_attempt(id)
    local attempt = redis.call('HINCRBY', key('job', id), 'attempt', 1)
    redis.call('HSETNX', key('job', id), 'started_at', format_number(now))
    redis.call('HSET', key('job', id), 'attempt_started_at', format_number(now), 'frames_done', 0, 'worker', worker)
    redis.call('HDEL', key('job', id), 'retry_at')
    redis.call('ZADD', key('leases'), format_number(now + lease_seconds), id)
    redis.call('ZADD', key('running', client_of(id)), format_number(now), id)
    redis.call('HSET', key('claim', token), 'job', id, 'attempt', attempt)
    redis.call('EXPIRE', key('claim', token), 60)
    set_state(id, 'running')
    return {exhausted, lost, redis.call('HGETALL', key('job', id))}
end

local function list_due(name)
    return redis.call('ZRANGEBYSCORE', key(name), '-inf', format_number(now), 'LIMIT', 0, BATCH_SIZE)
end

local claimed, attempt = unpack(redis.call('HMGET', key('claim', token), 'job', 'attempt'))
if claimed then
    local is_held = attempt_status(claimed, attempt) == HELD
    return {exhausted, lost, is_held and redis.call('HGETALL', key('job', claimed)) or {}}
end
record_contact(now, lease_seconds)

for _, id in ipairs(list_due('delayed')) do
    redis.call('ZREM', key('delayed'), id)
    enqueue(id)
end

for _, id in ipairs(only_newcomers and {} or list_due('leases')) do
    lost = lost + 1
    if redis.call('HINCRBY', key('job', id), 'lost', 1) < max_lost then
        return start_attempt(id)
    end
    redis.call('HSET', key('job', id), 'error_detail', detail)
    finish(id, 'failed', now, clip_seconds, job_seconds, code)
    exhausted[#exhausted + 1] = id
end

local next_id = not only_lost and pop_waiting(only_newcomers and 1 or max_running)
if next_id then
    return start_attempt(next_id)
end
return {exhausted, lost, {}}
