"""REST of models and SAEs, under /api. From outside: the views, by `millm_site.urls`."""
