"""What every HTTP request passes: limits of heads and bodies, ids, outages, static files.
From outside: the settings and `asgi` name them.
"""
