"""Downloads and fingerprints of SAEs, in threads of the worker's own, by leases on their rows.

From outside: nothing. `inference.worker.process` starts the threads.
"""
