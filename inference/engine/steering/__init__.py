"""Steering in the batch: the rows and columns of each request, and the hooks that change the residual stream.

From outside: `hooks` by the engine and the readers, `weights` by workers, `placement` for the hashes of KV blocks.
"""
