-- Cancel a queued or running job. ARGV: id, seconds until the clip expires, seconds until the job
-- expires. Returns the state it was in, or '' for an unknown job.
local id, clip_seconds, job_seconds = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local state = read(id, 'state')
if state == 'queued' or state == 'running' then
    finish(id, 'cancelled', time(), clip_seconds, job_seconds)
end
return state or ''
