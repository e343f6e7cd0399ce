"""The admin of users, groups and API keys, where Django looks for it."""

from millm_site.accounts.access_admin import GroupAdmin as GroupAdmin
from millm_site.accounts.access_admin import UserAdmin as UserAdmin
from millm_site.accounts.key_admin import APIKeyAdmin as APIKeyAdmin
