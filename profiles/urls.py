"""/api/profiles, without trailing slashes."""

from rest_framework.routers import DefaultRouter

from profiles.views import ProfileViewSet

router = DefaultRouter(trailing_slash=False)
router.register("profiles", ProfileViewSet, basename="profile")
urlpatterns = router.urls
