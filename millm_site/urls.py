"""Every URL of miLLM: the admin, the REST API under /api, OpenAI's API under /v1, the probes."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

urlpatterns = [
    path("", RedirectView.as_view(url="/admin/")),
    path("admin/", admin.site.urls),
    path("api/", include("profiles.urls")),
    path("api/", include("steering.urls")),
    path("", include("inference.urls")),
]
