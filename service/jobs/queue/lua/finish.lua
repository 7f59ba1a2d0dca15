-- End a job with its attempt. ARGV: id, attempt, state, clip seconds, job seconds, error code or
-- '', bytes of the results, then fields of the record. Returns the attempt's standing; the same
-- end again (its answer was lost) is no error.
local id, attempt, state, clip_seconds, job_seconds = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local code, bytes = ARGV[6], ARGV[7]
local held, state_before, owner = read(id, 'attempt', 'state', 'owner')
if held == attempt and state_before == state then
    return HELD
end
local stands = standing(id, attempt)
if stands ~= HELD then
    return stands
end
redis.call('HSET', key('job', id), 'result_bytes', bytes, unpack(ARGV, 8))
store(owner, bytes)
finish(id, state, time(), clip_seconds, job_seconds, code ~= '' and code or nil)
return HELD
