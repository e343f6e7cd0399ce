"""The admin of profiles: the list in list_admin, the form in form_admin, the versions in history_admin."""

from django.contrib import admin

from profiles.admin import live_page as live_admin  # noqa: F401 - which registers its page
from profiles.admin.form_page import ProfileFormAdmin
from profiles.admin.history_page import ProfileHistoryAdmin
from profiles.admin.list_page import ProfileListAdmin
from profiles.models import Profile


@admin.register(Profile)
class ProfileAdmin(ProfileFormAdmin, ProfileListAdmin, ProfileHistoryAdmin):
    pass
