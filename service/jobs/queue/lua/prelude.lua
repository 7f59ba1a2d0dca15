-- Functions that every script of the job queue begins with. KEYS[1] is the prefix of every key.
--
--   job:<id>                    hash: the record
--   events:<id>                 stream: changes of the job, the newest 256
--   changes                     stream: ids of jobs that have changed, the newest 1000 or so, with the new state
--   index:<owner>[:<state>[:<error code>]]   sorted set of ids by creation time; owner * is all;
--                               the same by the client, where it is not the owner
--   waiting:<priority>:<client> sorted set of ids by creation time: jobs ready to be claimed
--   owners:<priority>           sorted set of the clients of waiting jobs, by work received
--   running:<client>            sorted set of running ids; a client is an owner, or an address without key
--   work                        hash: work received by a client, seconds, on the virtual clock
--   virtual_time                string: least work received by a client that waited when one was served
--   leases                      sorted set of running ids by the time when their lease ends
--   delayed                     sorted set of ids by the time when they are queued again
--   expiry, clip_expiry         sorted sets of ended ids by the time when job or clip expires
--   purge                       sorted set of removed ids whose blobs are still to be deleted
--   stored                      hash: bytes of clips and results of an owner, a client; * is all
--   claim:<token>               hash: the attempt that a claim started, for one minute
--   idempotency:<owner>:<hash>  hash: reservation of a key, then its job and fingerprint
--   changes                     stream: the latest changes of jobs' states, for a minute
--   last_created                string: creation time of the newest job
--   last_contact                string: time when a worker last reached Redis
--   pair                        string: pairing mark, equal to that in the blob store of this queue

local MAX_EVENTS = 256
local MAX_CHANGES = 1000
local CHANGES_SECONDS = 60
local PROGRESS_SECONDS = 1
local ALL_OWNERS = '*'
local PRIORITIES = {'interactive', 'bulk'}
-- Work charged for a job when it is claimed, in seconds; corrected when it ends.
local EXPECTED_WORK = 1
-- Work by which a client's interactive jobs may be ahead of the bulk jobs of the others, in seconds.
local INTERACTIVE_LEAD = 60

local function key(...)
    return table.concat({KEYS[1], ...}, ':')
end

-- Seconds since the epoch by the clock of Redis: one clock for every worker and gateway.
local function time()
    local now = redis.call('TIME')
    return tonumber(now[1]) + tonumber(now[2]) / 1e6
end

-- A number with microseconds: Lua's default notation drops digits.
local function format_number(number)
    return string.format('%.6f', number)
end

-- Fields of a record; nil for each that it lacks.
local function read(id, ...)
    local values = redis.call('HMGET', key('job', id), ...)
    for place, value in ipairs(values) do
        values[place] = value or nil
    end
    return unpack(values, 1, select('#', ...))
end

-- The client of a job, by which work and storage are shared: the address of a caller without a key,
-- else the owner.
local function client_of(id)
    local owner, client = read(id, 'owner', 'client_id')
    return client or owner
end

-- Names under which a job is indexed and its bytes are counted.
local function account_names(id)
    local owner, client = read(id, 'owner', 'client_id')
    return client and {owner, client, ALL_OWNERS} or {owner, ALL_OWNERS}
end

local function add_to_index(id, created, ...)
    for _, name in ipairs(account_names(id)) do
        redis.call('ZADD', key('index', name, ...), created, id)
    end
end

-- Remove a job from the indices of its state and error code.
local function remove_from_state_indices(id)
    local state, code = read(id, 'state', 'error_code')
    for _, name in ipairs(account_names(id)) do
        redis.call('ZREM', key('index', name, state), id)
        if code then
            redis.call('ZREM', key('index', name, state, code), id)
        end
    end
end

local function add_stored_bytes(id, bytes)
    for _, name in ipairs(account_names(id)) do
        if redis.call('HINCRBY', key('stored'), name, string.format('%d', bytes)) == 0 then
            redis.call('HDEL', key('stored'), name)
        end
    end
end

-- Mark the clip of an ended job as dropped: it no longer counts, and the job cannot be retried.
local function drop_clip(id)
    local clip_bytes, dropped = read(id, 'clip_bytes', 'clip_dropped')
    if not dropped then
        redis.call('HSET', key('job', id), 'clip_dropped', 1)
        add_stored_bytes(id, -tonumber(clip_bytes))
    end
end

-- Notify the gateways that follow the job, and the workers of a queued one. Ids of deleted jobs
-- stay there for a minute after the last change.
local function publish_change(id, state)
    redis.call('XADD', key('changes'), 'MAXLEN', '~', MAX_CHANGES, '*', 'job', id, 'state', state)
    redis.call('EXPIRE', key('changes'), CHANGES_SECONDS)
end

local function append_event(id, kind)
    local names = {'state', 'attempt', 'frames_done', 'frames_total', 'worker', 'error_code'}
    local entry = {'kind', kind}
    for place, value in ipairs(redis.call('HMGET', key('job', id), unpack(names))) do
        if value then
            entry[#entry + 1] = names[place]
            entry[#entry + 1] = value
        end
    end
    redis.call('HSET', key('job', id), 'last_event_at', format_number(time()))
    redis.call('XADD', key('events', id), 'MAXLEN', '~', MAX_EVENTS, '*', unpack(entry))
    publish_change(id, read(id, 'state'))
end

-- Change a job's state, its indices with it, and append the event.
local function set_state(id, state, code)
    local created = read(id, 'created_at')
    remove_from_state_indices(id)
    redis.call('HSET', key('job', id), 'state', state)
    add_to_index(id, created, state)
    if code then
        redis.call('HSET', key('job', id), 'error_code', code)
        add_to_index(id, created, state, code)
    end
    append_event(id, 'state')
end

-- Scheduling ---------------------------------------------------------------------------------

-- Charge a client for work: the one that has received least is served next.
local function charge(client, seconds)
    local work = redis.call('HINCRBYFLOAT', key('work'), client, format_number(seconds))
    for _, priority in ipairs(PRIORITIES) do
        redis.call('ZADD', key('owners', priority), 'XX', work, client)
    end
end

local function enqueue(id)
    local priority, created = read(id, 'priority', 'created_at')
    local client = client_of(id)
    redis.call('ZADD', key('waiting', priority, client), created, id)
    if not redis.call('ZSCORE', key('owners', priority), client) then
        local work = tonumber(redis.call('HGET', key('work'), client) or 0)
        -- A client without jobs accumulates no credit.
        work = math.max(work, tonumber(redis.call('GET', key('virtual_time')) or 0))
        redis.call('HSET', key('work'), client, format_number(work))
        for _, each in ipairs(PRIORITIES) do
            redis.call('ZADD', key('owners', each), 'XX', format_number(work), client)
        end
        redis.call('ZADD', key('owners', priority), format_number(work), client)
    end
end

-- Remove a job from the waiting, the delayed and the leased jobs.
local function unschedule(id)
    local priority, client = read(id, 'priority'), client_of(id)
    local waiting = key('waiting', priority, client)
    redis.call('ZREM', waiting, id)
    if redis.call('EXISTS', waiting) == 0 then
        redis.call('ZREM', key('owners', priority), client)
    end
    redis.call('ZREM', key('delayed'), id)
    redis.call('ZREM', key('leases'), id)
    redis.call('ZREM', key('running', client), id)
end

-- Forget the shares of work once no job waits or runs.
local function forget_work_if_idle()
    if redis.call('EXISTS', key('owners', 'interactive'), key('owners', 'bulk'), key('leases'), key('delayed')) == 0 then
        redis.call('DEL', key('work'), key('virtual_time'))
    end
end

-- The client that is served next at a priority, and the work that it has received. Skips clients
-- that run `max_running` jobs already (-1: no limit); there are at most as many as running jobs.
local function next_client(priority, max_running)
    local place = 0
    while true do
        local found = redis.call('ZRANGE', key('owners', priority), place, place, 'WITHSCORES')
        if not found[1] then
            return nil
        end
        if max_running < 0 or redis.call('ZCARD', key('running', found[1])) < max_running then
            return found[1], tonumber(found[2])
        end
        place = place + 1
    end
end

-- Remove and return the next waiting job, clients in fair shares. Interactive jobs come first,
-- unless their client has received INTERACTIVE_LEAD more than the next client of bulk jobs.
local function pop_waiting(max_running)
    local client, work = next_client('interactive', max_running)
    local bulk_client, bulk_work = next_client('bulk', max_running)
    local priority = 'interactive'
    if not client or bulk_client and work > bulk_work + INTERACTIVE_LEAD then
        client, priority = bulk_client, 'bulk'
    end
    if not client then
        return nil
    end
    local id = redis.call('ZRANGE', key('waiting', priority, client), 0, 0)[1]
    unschedule(id)
    redis.call('SET', key('virtual_time'), format_number(math.min(work or bulk_work, bulk_work or work)))
    charge(client, EXPECTED_WORK)
    return id
end

-- The limit that another open job of this client would exceed, if any. -1: no limit.
local function exceeded_limit(client, max_waiting, max_open)
    local function count(name, state)
        return redis.call('ZCARD', key('index', name, state))
    end
    if count(ALL_OWNERS, 'queued') >= max_waiting then
        return 'queue_full'
    end
    if max_open >= 0 and count(client, 'queued') + count(client, 'running') >= max_open then
        return 'open_jobs'
    end
end

-- Leases -------------------------------------------------------------------------------------

-- Record that a worker has reached Redis. After a time without any contact, when no worker could
-- renew its lease, all leases start anew.
local function record_contact(now, lease_seconds)
    local last = tonumber(redis.call('GET', key('last_contact')) or now)
    if now - last > lease_seconds / 2 then
        for _, id in ipairs(redis.call('ZRANGE', key('leases'), 0, -1)) do
            redis.call('ZADD', key('leases'), format_number(now + lease_seconds), id)
        end
    end
    if last == now or now - last > lease_seconds / 16 then
        redis.call('SET', key('last_contact'), format_number(now))
    end
end

-- The status of an attempt: HELD while it has its job, SUPERSEDED once another attempt has the job
-- or it has ended, WITHDRAWN once it was cancelled or removed.
local HELD, SUPERSEDED, WITHDRAWN = 1, 0, -1
local function attempt_status(id, attempt)
    local current, state = read(id, 'attempt', 'state')
    if not state or state == 'cancelled' then
        return WITHDRAWN
    end
    return current == attempt and state == 'running' and HELD or SUPERSEDED
end

-- Ending jobs -----------------------------------------------------------------------------------------

-- End a job: charge its client for the work, and set when the clip and the job expire. A clip that
-- expires at once is dropped now; the janitor deletes it.
local function finish(id, state, now, clip_seconds, job_seconds, code)
    local started = read(id, 'attempt_started_at')
    if read(id, 'state') == 'running' then
        charge(client_of(id), now - tonumber(started or now) - EXPECTED_WORK)
    end
    unschedule(id)
    forget_work_if_idle()
    local expires = format_number(now + job_seconds)
    redis.call('HSET', key('job', id), 'finished_at', format_number(now), 'expires_at', expires)
    redis.call('ZADD', key('expiry'), expires, id)
    redis.call('ZADD', key('clip_expiry'), format_number(now + clip_seconds), id)
    if clip_seconds <= 0 then
        drop_clip(id)
    end
    set_state(id, state, code)
end

-- Remove a job; its blobs are still to be deleted.
local function remove(id, now)
    local clip_bytes, dropped, result_bytes, idempotency = read(id,
        'clip_bytes', 'clip_dropped', 'result_bytes', 'idempotency')
    unschedule(id)
    remove_from_state_indices(id)
    for _, name in ipairs(account_names(id)) do
        redis.call('ZREM', key('index', name), id)
    end
    add_stored_bytes(id, -((dropped and 0 or tonumber(clip_bytes)) + tonumber(result_bytes or 0)))
    redis.call('ZREM', key('expiry'), id)
    redis.call('ZREM', key('clip_expiry'), id)
    redis.call('ZADD', key('purge'), format_number(now), id)
    redis.call('DEL', key('job', id), key('events', id))
    publish_change(id, 'removed')
    if idempotency then
        redis.call('DEL', key('idempotency', idempotency))
    end
end

--------------------------------------------------------------------------------------------------
