"""Pages of profiles, with the id of the active profile."""

from typing import Any

from rest_framework.response import Response

from profiles.api.examples import PROFILE
from profiles.models import Profile
from steering.api.pagination import Pages


class ProfilePages(Pages):
    def get_paginated_response(self, data: Any) -> Response:
        response = super().get_paginated_response(data)
        active = Profile.objects.active()
        response.data["active_profile_id"] = active.pk if active else None
        return response

    def get_paginated_response_schema(self, schema: Any) -> Any:
        page = super().get_paginated_response_schema(schema)
        page["properties"]["active_profile_id"] = {"type": "string", "nullable": True, "example": PROFILE["id"]}
        return page
