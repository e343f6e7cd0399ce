"""The Celery application; the inference worker is `manage.py run worker`."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "millm_site.settings")
app = Celery("millm")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.steps["worker"].add("inference.worker.bootstep:EngineStep")  # a name, since the web loads this module too
