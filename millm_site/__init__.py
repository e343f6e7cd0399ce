"""The Django project: settings, URLs, ASGI and Celery applications, embedded services."""

from millm_site.celery import app as celery_app

__all__ = ["celery_app"]
