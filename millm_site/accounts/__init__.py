"""Access: users, groups, permissions, API keys, logins and their limits.
From outside: `authentication`, `access`, `rate_limits`.
"""
