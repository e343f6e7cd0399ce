"""Pages of the admin that belong to no app: the dashboard, the sidebar, errors.
From outside: the settings and `urls` name them.
"""
