-- What every script of the jobs room begins with. KEYS[1] is the prefix of every key.
--
--   job:<id>                    hash: the record
--   events:<id>                 stream: what has happened to it, newest 256
--   index:<owner>[:<state>[:<error code>]]   sorted set of ids by creation; owner * is everybody
--   waiting:<priority>:<owner>  sorted set of ids by creation: jobs that no worker has
--   turns:<priority>            sorted set of the owners that wait, by the work done for them
--   served                      hash: work done for an owner, seconds, on the clock of `clock`
--   leases                      sorted set of running ids by the time their lease ends
--   delayed                     sorted set of ids by the time they are tried again
--   expiry, clip_expiry         sorted sets of finished ids by the time the job, the clip goes
--   purge                       sorted set of removed ids whose blobs are still to be deleted
--   stored                      hash: bytes of clips and results of an owner; * is everybody
--   pair                        string: the mark that the blob store of this queue bears too

local EVENTS_KEPT = 256
local PROGRESS_SECONDS = 1
local EVERYBODY = '*'
local PRIORITIES = {'interactive', 'bulk'}
local STATES = {'queued', 'running', 'succeeded', 'failed', 'cancelled'}
-- What a job is expected to take, in seconds, until it is known what it took.
local USUAL_COST = 1

local function key(...)
    return table.concat({KEYS[1], ...}, ':')
end

-- Seconds since the epoch by the clock of Redis: one clock for every worker and gateway.
local function time()
    local now = redis.call('TIME')
    return tonumber(now[1]) + tonumber(now[2]) / 1e6
end

-- A number as Redis is to keep it: Lua's own notation drops digits.
local function exact(number)
    return string.format('%.6f', number)
end

local function read(id, ...)
    local found = redis.call('HMGET', key('job', id), ...)
    for place, value in ipairs(found) do
        found[place] = value or nil
    end
    return unpack(found, 1, select('#', ...))
end

local function list(id, owner, created, ...)
    for _, whose in ipairs({owner, EVERYBODY}) do
        redis.call('ZADD', key('index', whose, ...), created, id)
    end
end

-- Out of the lists by state: of every state, since a worker of version 1 keeps no lists.
local function unlist(id)
    local owner, code = read(id, 'owner', 'error_code')
    for _, whose in ipairs({owner, EVERYBODY}) do
        for _, state in ipairs(STATES) do
            redis.call('ZREM', key('index', whose, state), id)
        end
        if code then
            redis.call('ZREM', key('index', whose, 'failed', code), id)
        end
    end
end

local function store(owner, bytes)
    for _, whose in ipairs({owner, EVERYBODY}) do
        redis.call('HINCRBY', key('stored'), whose, string.format('%d', bytes))
    end
end

local function announce(id, kind)
    local names = {'state', 'attempt', 'frames_done', 'frames_total', 'worker', 'error_code'}
    local entry = {'kind', kind}
    for place, value in ipairs(redis.call('HMGET', key('job', id), unpack(names))) do
        if value then
            entry[#entry + 1] = names[place]
            entry[#entry + 1] = value
        end
    end
    redis.call('HSET', key('job', id), 'announced_at', exact(time()))
    redis.call('XADD', key('events', id), 'MAXLEN', '~', EVENTS_KEPT, '*', unpack(entry))
end

-- Bring a job into another state, its listings with it, and tell so.
local function restate(id, state, code)
    local owner, created = read(id, 'owner', 'created_at')
    unlist(id)
    redis.call('HSET', key('job', id), 'state', state)
    list(id, owner, created, state)
    if code then
        redis.call('HSET', key('job', id), 'error_code', code)
        list(id, owner, created, state, code)
    end
    announce(id, 'state')
end

-- The waiting room ---------------------------------------------------------------------------

-- Charge an owner for work: the owner with the least of it is served next.
local function charge(owner, seconds)
    local served = redis.call('HINCRBYFLOAT', key('served'), owner, exact(seconds))
    for _, priority in ipairs(PRIORITIES) do
        redis.call('ZADD', key('turns', priority), 'XX', served, owner)
    end
end

local function wait(id)
    local owner, priority, created = read(id, 'owner', 'priority', 'created_at')
    redis.call('ZADD', key('waiting', priority, owner), created, id)
    if not redis.call('ZSCORE', key('turns', priority), owner) then
        local served = tonumber(redis.call('HGET', key('served'), owner) or 0)
        -- Who was away has saved up nothing.
        served = math.max(served, tonumber(redis.call('GET', key('clock')) or 0))
        redis.call('HSET', key('served'), owner, exact(served))
        redis.call('ZADD', key('turns', priority), exact(served), owner)
    end
end

local function leave(id)
    local owner, priority = read(id, 'owner', 'priority')
    local room = key('waiting', priority, owner)
    redis.call('ZREM', room, id)
    if redis.call('EXISTS', room) == 0 then
        redis.call('ZREM', key('turns', priority), owner)
    end
    redis.call('ZREM', key('delayed'), id)
    redis.call('ZREM', key('leases'), id)
end

-- Take the next job out of the waiting room: interactive first, owners in fair shares.
local function next_waiting()
    for _, priority in ipairs(PRIORITIES) do
        local first = redis.call('ZRANGE', key('turns', priority), 0, 0, 'WITHSCORES')
        if first[1] then
            local owner, served = first[1], first[2]
            local id = redis.call('ZRANGE', key('waiting', priority, owner), 0, 0)[1]
            leave(id)
            redis.call('SET', key('clock'), served)
            charge(owner, USUAL_COST)
            return id
        end
    end
end

-- Why an owner's job is not taken, if so. -1: no limit.
local function refusal(owner, max_waiting, max_open)
    local function count(whose, state)
        return redis.call('ZCARD', key('index', whose, state))
    end
    if count(EVERYBODY, 'queued') >= max_waiting then
        return 'queue_full'
    end
    if max_open >= 0 and count(owner, 'queued') + count(owner, 'running') >= max_open then
        return 'open_jobs'
    end
end

-- Leases -------------------------------------------------------------------------------------

-- Where nobody has reached Redis for a while, nobody could renew a lease: all start anew.
local function keep_pulse(now, lease_seconds)
    local pulse = tonumber(redis.call('GET', key('pulse')) or now)
    if now - pulse > lease_seconds / 2 then
        for _, id in ipairs(redis.call('ZRANGE', key('leases'), 0, -1)) do
            redis.call('ZADD', key('leases'), exact(now + lease_seconds), id)
        end
    end
    if pulse == now or now - pulse > lease_seconds / 16 then
        redis.call('SET', key('pulse'), exact(now))
    end
end

-- Whether an attempt has its job: 1, 0 if another attempt has it or it has ended, -1 if it was
-- cancelled or removed.
local HELD, SUPERSEDED, WITHDRAWN = 1, 0, -1
local function standing(id, attempt)
    local held, state = read(id, 'attempt', 'state')
    if not state or state == 'cancelled' then
        return WITHDRAWN
    end
    return held == attempt and state == 'running' and HELD or SUPERSEDED
end

-- Ends -----------------------------------------------------------------------------------------

-- A job ends: its owner is charged for what it took, and its clip and itself get their time.
local function finish(id, state, now, clip_seconds, job_seconds, code)
    local owner, started = read(id, 'owner', 'attempt_started_at')
    if read(id, 'state') == 'running' then
        charge(owner, now - tonumber(started or now) - USUAL_COST)
    end
    leave(id)
    redis.call('HSET', key('job', id), 'finished_at', exact(now), 'expires_at', exact(now + job_seconds))
    redis.call('ZADD', key('expiry'), exact(now + job_seconds), id)
    redis.call('ZADD', key('clip_expiry'), exact(now + clip_seconds), id)
    restate(id, state, code)
end

-- Forget a job; its blobs are still to be deleted.
local function remove(id, now)
    local owner, clip_bytes, dropped, result_bytes, idempotency = read(id,
        'owner', 'clip_bytes', 'clip_dropped', 'result_bytes', 'idempotency')
    leave(id)
    unlist(id)
    for _, whose in ipairs({owner, EVERYBODY}) do
        redis.call('ZREM', key('index', whose), id)
    end
    store(owner, -((dropped and 0 or tonumber(clip_bytes)) + tonumber(result_bytes or 0)))
    redis.call('ZREM', key('expiry'), id)
    redis.call('ZREM', key('clip_expiry'), id)
    redis.call('ZADD', key('purge'), exact(now), id)
    redis.call('DEL', key('job', id), key('events', id))
    if idempotency then
        redis.call('DEL', key('idempotency', idempotency))
    end
end

--------------------------------------------------------------------------------------------------
