"""A worker process: it follows the rows of PostgreSQL, loads models and answers requests. A web never imports it.

From outside: `bootstep` and `consumer`, which the settings of Celery name.
"""
