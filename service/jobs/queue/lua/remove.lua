-- Forget a job, whatever it is doing. ARGV: id. Returns whether it was there.
if not read(ARGV[1], 'state') then
    return 0
end
remove(ARGV[1], time())
return 1
