"""REST of profiles, under /api/profiles.
From outside: the views, by `profiles.urls`.
"""
