"""/v1 and the probes. A trailing slash is tolerated: some clients add one, and a redirect would lose their body."""

from django.urls import path, re_path
from rest_framework.routers import SimpleRouter

from inference import health
from inference.api.export import ControlVectorView
from inference.api.features import FeatureView
from inference.api.measuring import MeasuringViewSet
from inference.api.reading import ActivationsView, ContrastView
from inference.api.resources import ModelViewSet, SAEViewSet
from inference.api.setups import SetupViewSet
from inference.api.sweeps import SweepFileViewSet, SweepViewSet
from inference.api.vectors import VectorsView
from inference.metrics import metrics
from inference.openai import views
from inference.openai.embeddings import embeddings
from inference.openai.endpoint import no_endpoint
from inference.openai.schema import openapi
from inference.responses import views as responses

rest = SimpleRouter(trailing_slash=False)
rest.register("models", ModelViewSet)
rest.register("saes", SAEViewSet)
rest_urls = [
    *rest.urls,
    path("saes/<slug:id>/measure", MeasuringViewSet.as_view({"get": "retrieve", "post": "create"}), name="measure"),
    path("saes/<slug:id>/measure/retry", MeasuringViewSet.as_view({"post": "retry"}), name="measure_retry"),
    path("saes/<slug:id>/measure/cancel", MeasuringViewSet.as_view({"post": "cancel"}), name="measure_cancel"),
    path("setups", SetupViewSet.as_view({"get": "list"}), name="setups"),
    path("setups/<int:id>/restore", SetupViewSet.as_view({"post": "restore"}), name="setup_restore"),
    path("activations", ActivationsView.as_view(), name="activations"),
    path("saes/<slug:id>/features/<int:index>", FeatureView.as_view(), name="feature"),
    path("vectors", VectorsView.as_view(), name="vectors"),
    path("saes/<slug:id>/features/<int:index>/vector.gguf", ControlVectorView.as_view(), name="control_vector"),
    path("features/contrast", ContrastView.as_view(), name="contrast"),
    path("sweeps", SweepViewSet.as_view({"get": "list", "post": "create"}), name="sweeps"),
    path("sweeps/<int:id>", SweepViewSet.as_view({"get": "retrieve", "delete": "destroy"}), name="sweep"),
    path("sweeps/<int:id>/cancel", SweepViewSet.as_view({"post": "cancel"}), name="sweep_cancel"),
    path("sweeps/<int:id>/resume", SweepViewSet.as_view({"post": "resume"}), name="sweep_resume"),
    path("sweeps/<int:id>/cells.csv", SweepFileViewSet.as_view({"get": "cells_csv"}), name="sweep_csv"),
    path("sweeps/<int:id>/cells.json", SweepFileViewSet.as_view({"get": "cells_json"}), name="sweep_json"),
]

urlpatterns = [
    path("healthz", health.healthz),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", metrics),
    re_path(r"^v1/chat/completions/?$", views.chat_completions),
    re_path(r"^v1/completions/?$", views.completions),
    re_path(r"^v1/embeddings/?$", embeddings),
    re_path(r"^v1/responses/?$", responses.responses),
    re_path(r"^v1/responses/(?P<response_id>[^/]+)/?$", responses.response),
    re_path(r"^v1/responses/(?P<response_id>[^/]+)/input_items/?$", responses.input_items),
    re_path(r"^v1/responses/(?P<response_id>[^/]+)/cancel/?$", responses.cancel),
    path("v1/openapi.json", openapi),
    re_path(r"^v1/models/?$", views.models),
    re_path(r"^v1/models/(?P<name>.+?)/?$", views.model),
    re_path(r"^v1(?:/|$)", no_endpoint),
]
