-- Stop a job, whoever works on it. ARGV: id, clip seconds, job seconds.
-- Returns the state it was in, or '' where there is none.
local id, clip_seconds, job_seconds = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local state = read(id, 'state')
if state == 'queued' or state == 'running' then
    finish(id, 'cancelled', time(), clip_seconds, job_seconds)
end
return state or ''
