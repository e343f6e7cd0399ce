"""Layers that every HTTP request passes: limits of heads and bodies, request ids, outages, static files.
From outside: only the settings, `asgi` and `manage.py run` name them.
"""
