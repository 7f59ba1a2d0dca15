-- End a job with its attempt. ARGV: id, attempt, state, seconds until the clip expires, seconds
-- until the job expires, error code or '', bytes of the results, then fields of the record.
-- Returns the attempt's status. The same end sent again (its response was lost) is no error.
local id, attempt, state = ARGV[1], ARGV[2], ARGV[3]
local clip_seconds, job_seconds, code, bytes = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6], ARGV[7]
local last_attempt, last_state = read(id, 'attempt', 'state')
if last_attempt == attempt and last_state == state then
    return HELD
end
local status = attempt_status(id, attempt)
if status ~= HELD then
    return status
end
redis.call('HSET', key('job', id), 'result_bytes', bytes, unpack(ARGV, 8))
add_stored_bytes(id, bytes)
finish(id, state, time(), clip_seconds, job_seconds, code ~= '' and code or nil)
return HELD
