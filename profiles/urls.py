"""/api/profiles and /api/steering, without trailing slashes."""

from django.urls import path
from rest_framework.routers import SimpleRouter

from profiles.api.live import LiveSteeringViewSet as Live
from profiles.api.views import ProfileViewSet

router = SimpleRouter(trailing_slash=False)
router.register("profiles", ProfileViewSet, basename="profile")
urlpatterns = [
    *router.urls,
    path("steering", Live.as_view({"get": "retrieve", "put": "update", "patch": "partial_update"}), name="steering"),
    path("steering/enable", Live.as_view({"post": "enable"})),
    path("steering/disable", Live.as_view({"post": "disable"})),
    path("steering/clear", Live.as_view({"post": "clear"})),
    path("steering/history", Live.as_view({"get": "history"})),
    path("steering/history/<int:version>", Live.as_view({"get": "past"})),
    path("steering/restore", Live.as_view({"post": "restore"})),
]
