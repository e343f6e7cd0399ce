"""/api/profiles, without trailing slashes."""

from rest_framework.routers import DefaultRouter

from profiles.views import ProfileViewSet

router = DefaultRouter(trailing_slash=False)
router.include_format_suffixes = False  # `.json` would go to methods that do not know it
router.register("profiles", ProfileViewSet, basename="profile")
urlpatterns = router.urls
