"""The admin of profiles: the list in list_admin, the form in form_admin, the versions in history_admin."""

from django.contrib import admin

from profiles import live_admin  # noqa: F401 - which registers its page
from profiles.form_admin import ProfileFormAdmin
from profiles.history_admin import ProfileHistoryAdmin
from profiles.list_admin import ProfileListAdmin
from profiles.models import Profile


@admin.register(Profile)
class ProfileAdmin(ProfileFormAdmin, ProfileListAdmin, ProfileHistoryAdmin):
    pass
