"""The admin of profiles (form, list, import and history pages) and of the live steering.
From outside: `badges`. Importing this package registers the pages.
"""

from django.contrib import admin

from profiles.admin.form_page import ProfileFormAdmin
from profiles.admin.history_page import ProfileHistoryAdmin
from profiles.admin.list_page import ProfileListAdmin
from profiles.admin.live_page import LiveSteeringAdmin as LiveSteeringAdmin
from profiles.models import Profile


@admin.register(Profile)
class ProfileAdmin(ProfileFormAdmin, ProfileListAdmin, ProfileHistoryAdmin):
    pass
