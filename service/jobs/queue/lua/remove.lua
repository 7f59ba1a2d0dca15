-- Remove a job in any state. ARGV: id. Returns 1, or 0 for an unknown job.
if not read(ARGV[1], 'state') then
    return 0
end
remove(ARGV[1], time())
return 1
