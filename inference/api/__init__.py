"""REST of models and SAEs, under /api/models and /api/saes.
From outside: the views, by `inference.urls`.
"""
