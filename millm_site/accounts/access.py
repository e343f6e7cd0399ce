"""Rules of managing users: editors grant and manage at most the permissions that they have. A superuser may do all."""

from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission, User
from django.db.models import Q, QuerySet

from millm_site.accounts.groups import meaningful_permissions


def permissions_of(user: Any) -> QuerySet[Permission]:
    """The permissions of a user and of the user's groups, active or not."""
    return Permission.objects.filter(Q(user=user) | Q(group__user=user))


def grantable_permissions(editor: Any) -> QuerySet[Permission]:
    """The permissions that `editor` may grant."""
    offered = meaningful_permissions()
    return offered if editor.is_superuser else offered.filter(pk__in=permissions_of(editor).values("pk"))


def grantable_groups(editor: Any) -> QuerySet[Group]:
    """The groups to which `editor` may add users."""
    if editor.is_superuser:
        return Group.objects.all()
    return Group.objects.exclude(permissions__in=_beyond(editor))


def may_manage(editor: Any, owner: User | Group) -> bool:
    """True if `editor` may change or delete a user or a group, which must not have more permissions than `editor`."""
    if editor.is_superuser:
        return True
    if isinstance(owner, Group):
        return not owner.permissions.filter(pk__in=_beyond(editor)).exists()
    return not owner.is_superuser and not permissions_of(owner).filter(pk__in=_beyond(editor)).exists()


def leaves_no_superuser(users: Any) -> bool:
    """True if no active superuser with access to the admin would be left without `users`."""
    able = get_user_model().objects.filter(is_superuser=True, is_active=True, is_staff=True)
    without = {user.pk for user in users}
    return bool(without & set(able.values_list("pk", flat=True))) and not able.exclude(pk__in=without).exists()


def _beyond(editor: Any) -> QuerySet[Permission]:
    return Permission.objects.exclude(pk__in=permissions_of(editor).values("pk"))
