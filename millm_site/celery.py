"""The Celery application; the inference worker is `manage.py run worker`."""

import os

from celery import Celery

from inference.worker.bootstep import EngineStep

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "millm_site.settings")
app = Celery("millm")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.steps["worker"].add(EngineStep)
