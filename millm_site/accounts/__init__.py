"""Who may do what: users, groups, API keys, logins and their limits.
From outside: `authentication`, `access`, `rate_limits`.
"""
