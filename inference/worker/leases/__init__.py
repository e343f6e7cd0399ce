"""Work that a worker finds on the rows, one worker at a time, in threads of its own.

From outside: `lease.Lease`, `threads.LeaseThreads`.
"""
