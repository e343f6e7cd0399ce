"""/api/steering."""

from django.urls import path

from steering.views import LiveSteeringViewSet

urlpatterns = [
    path("steering", LiveSteeringViewSet.as_view({"get": "retrieve", "put": "update", "patch": "partial_update"})),
    path("steering/enable", LiveSteeringViewSet.as_view({"post": "enable"})),
    path("steering/disable", LiveSteeringViewSet.as_view({"post": "disable"})),
    path("steering/clear", LiveSteeringViewSet.as_view({"post": "clear"})),
]
