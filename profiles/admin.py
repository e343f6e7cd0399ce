"""The admin of profiles."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from simple_history.admin import SimpleHistoryAdmin
from unfold.admin import ModelAdmin

from profiles.forms import ProfileForm
from profiles.models import Profile
from steering.errors import SteeringError
from steering.label_admin import labelled


@admin.register(Profile)
class ProfileAdmin(SimpleHistoryAdmin, ModelAdmin):
    form = ProfileForm
    list_display = ["name", "is_active", "feature_count", "model_id", "sae_id", "layer", "updated_at"]
    list_filter = ["is_active", "model_id", "sae_id", "layer"]
    search_fields = ["name", "description"]
    readonly_fields = ["labels", "id", "is_active", "created_at", "updated_at"]
    history_list_display = ["door", "agent"]
    actions = ["activate", "deactivate"]

    @admin.display(description="features")
    def feature_count(self, profile: Profile) -> int:
        return len(profile.steering)

    @admin.display(description="features, with their labels")
    def labels(self, profile: Profile) -> str:
        return labelled(profile.sae_id, profile.steering)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """A new profile starts from what is here: the current model, the attached SAE, the live steering."""
        return {**Profile.objects.defaults(), **super().get_changeform_initial_data(request)}

    def has_activate_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("profiles.activate_profile")

    @admin.action(description="Activate the selected profile", permissions=["activate"])
    def activate(self, request: HttpRequest, queryset: "QuerySet[Profile]") -> None:
        if queryset.count() != 1:
            self.message_user(request, "Select exactly one profile to activate.", messages.ERROR)
            return
        profile = queryset.get()
        try:
            profile.activate()
        except SteeringError as error:
            self.message_user(request, str(error), messages.ERROR)
        else:
            self.message_user(request, f"{profile} is active and steers every request from now on.")

    @admin.action(description="Deactivate the selected profiles", permissions=["activate"])
    def deactivate(self, request: HttpRequest, queryset: "QuerySet[Profile]") -> None:
        active = queryset.filter(is_active=True).first()
        if active is None:
            self.message_user(request, "None of the selected profiles is active.", messages.WARNING)
            return
        active.deactivate()
        self.message_user(request, f"{active} is no longer active; nothing steers now.")
