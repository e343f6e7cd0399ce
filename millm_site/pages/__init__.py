"""Pages that belong to no app: the dashboard, the sidebar, error pages, the root of REST.
From outside: only the settings and `urls` name them.
"""
