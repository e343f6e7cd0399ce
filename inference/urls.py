"""/v1 and the probes."""

from django.urls import path

from inference import health
from inference.openai import views

urlpatterns = [
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("v1/chat/completions", views.chat_completions),
    path("v1/models", views.models),
    path("v1/models/<path:name>", views.model),
]
