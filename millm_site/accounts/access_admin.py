"""The admin of users and groups, by the rules of `millm_site.accounts.access`."""

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, Permission, User
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from unfold.decorators import display
from unfold.forms import AdminPasswordChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from millm_site.accounts import access
from millm_site.accounts.access_forms import PermissionsField, PermissionsForm, UserForm
from steering.admin.search import BoundedSearch
from steering.admin.selections import ChecksSelection

WORDS = {
    "is_active": ("Active", "An inactive user cannot log in, and the user's API keys do not work."),
    "is_staff": ("Uses the admin", "May log in here. Not needed for users of API keys only."),
    "is_superuser": ("Superuser", "Has every permission."),
}

admin.site.unregister(User)
admin.site.unregister(Group)


class ManagedAdmin(ChecksSelection, BoundedSearch):
    """Users and groups: an editor sees only grantable permissions as choices, and may only view those who have more."""

    filter_horizontal: Any = ()
    list_filter_submit = True

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        allowed: bool = super().has_change_permission(request, obj)
        return allowed and (obj is None or access.may_manage(request.user, obj))

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        allowed: bool = super().has_delete_permission(request, obj)
        return allowed and (obj is None or access.may_manage(request.user, obj))

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.remote_field.model is Permission:
            offered = access.grantable_permissions(request.user)
            return PermissionsField(offered, required=False, label="Permissions", help_text=self.permissions_help)
        kwargs.update(queryset=access.grantable_groups(request.user), widget=UnfoldAdminCheckboxSelectMultipleWidget())
        field: Any = super().formfield_for_manytomany(db_field, request, **kwargs)
        field.help_text = "A user may do what any of these groups may do."
        return field


@admin.register(User)
class UserAdmin(ManagedAdmin, DjangoUserAdmin[User]):
    form = UserForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    permissions_help = "In addition to the permissions of the groups."
    list_display = ["username", "full_name", "group_names", "is_superuser", "state", "last_login"]
    list_filter = ["is_staff", "is_superuser", "is_active", "groups"]
    readonly_fields = ["last_login", "date_joined"]
    fieldsets = (
        (None, {"fields": ("username", "password")}),
        ("Person", {"fields": ("first_name", "last_name", "email")}),
        ("Permissions", {"fields": ("is_active", "is_staff", "is_superuser", "groups", "user_permissions")}),
        ("Dates", {"fields": ("last_login", "date_joined")}),
    )
    add_fieldsets = (
        (None, {"fields": ("username", "usable_password", "password1", "password2")}),
        ("Permissions", {"fields": ("is_staff", "groups")}),
    )

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field: Any = super().formfield_for_dbfield(db_field, request, **kwargs)
        if db_field.name in WORDS:
            field.label, field.help_text = WORDS[db_field.name]
        return field

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        queryset: QuerySet[User] = super().get_queryset(request)
        return queryset.prefetch_related("groups", "user_permissions__content_type")

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> list[str]:
        fields = super().get_readonly_fields(request, obj)
        return [*fields] if request.user.is_superuser else [*fields, "is_superuser"]

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"is_staff": True, **super().get_changeform_initial_data(request)}

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Django's list for the confirmation. The last superuser is protected."""
        deleted, counts, missing, protected = super().get_deleted_objects(objs, request)
        if access.leaves_no_superuser(objs):
            protected = [*protected, "The last superuser who can log in: make another one first."]
        return deleted, counts, missing, protected

    @display(description="name", ordering="last_name")
    def full_name(self, user: User) -> str:
        return user.get_full_name() or "-"

    @display(description="groups", label=True)
    def group_names(self, user: User) -> list[str]:
        return [group.name for group in user.groups.all()]

    @display(description="state", ordering="is_active", label={"active": "success", "inactive": "danger"})
    def state(self, user: User) -> str:
        return "active" if user.is_active else "inactive"


@admin.register(Group)
class GroupAdmin(ManagedAdmin, DjangoGroupAdmin):
    form = PermissionsForm
    permissions_help = "The permissions of this group's users."
    list_display = ["name", "user_count"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Group]:
        queryset: QuerySet[Group] = super().get_queryset(request)
        return queryset.annotate(user_count=Count("user")).prefetch_related("permissions__content_type")

    @display(description="users", ordering="user_count")
    def user_count(self, group: Any) -> int:
        count: int = group.user_count
        return count
