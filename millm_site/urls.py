"""Every URL of miLLM: the admin, the REST API under /api, OpenAI's API under /v1, the probes."""

from django.contrib import admin
from django.http import HttpRequest, JsonResponse
from django.templatetags.static import static
from django.urls import include, path, re_path
from django.utils.functional import lazy
from django.views.decorators.csrf import csrf_exempt
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from inference.admin.explore import explore, explore_now
from inference.admin.playground import playground, playground_now, playground_profile
from inference.openai.views import admin_chat_completions
from inference.urls import rest_urls
from millm_site.pages.first_steps import notes_answers
from millm_site.pages.rest_root import RestRoot


@csrf_exempt
def no_endpoint(request: HttpRequest) -> JsonResponse:
    """404 for an unknown path under /api, in the shape of DRF's errors."""
    detail = f"There is nothing at {request.path}: see /api/docs."
    return JsonResponse({"detail": detail, "code": "not_found"}, status=404)


handler403 = "millm_site.pages.errors.permission_denied"
handler404 = "millm_site.pages.errors.page_not_found"
handler400 = "millm_site.middleware.bad_request.bad_request"
urlpatterns = [
    path("", RedirectView.as_view(url="/admin/")),
    path("favicon.ico", RedirectView.as_view(url=lazy(static, str)("millm/favicon.svg"))),
    path("admin/playground/", admin.site.admin_view(playground), name="playground"),
    path("admin/playground/now", admin.site.admin_view(playground_now), name="playground_now"),
    path("admin/playground/profile", admin.site.admin_view(playground_profile), name="playground_profile"),
    path("admin/explore/", admin.site.admin_view(explore), name="explore"),
    path("admin/explore/now", admin.site.admin_view(explore_now), name="explore_now"),
    path("admin/dashboard/", include("millm_site.pages.dashboard")),
    path("admin/chat/completions", notes_answers(admin_chat_completions)),
    path("admin/", admin.site.urls),
    path("api/schema", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs", SpectacularSwaggerSplitView.as_view(url_name="schema"), name="docs"),
    path("api/", RestRoot.as_view(), name="api_root"),
    path("api/", include("profiles.urls")),
    path("api/", include("steering.urls")),
    path("api/", include(rest_urls)),
    re_path(r"^api/", no_endpoint),
    path("", include("inference.urls")),
]
