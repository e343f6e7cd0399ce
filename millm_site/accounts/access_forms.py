"""Forms of users and groups: permissions as a table, and a check that one superuser is left."""

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from django.contrib.auth.models import Permission
from django.forms import ModelForm, ModelMultipleChoiceField
from django.forms.models import ModelChoiceIterator
from django.template.loader import render_to_string
from django.utils.safestring import SafeString
from unfold.forms import UserChangeForm
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from millm_site.accounts.access import leaves_no_superuser
from millm_site.accounts.groups import MEANINGFUL


class _ByModel(ModelChoiceIterator):
    """Choices of permissions, grouped by model, in the order of MEANINGFUL."""

    def __iter__(self) -> Iterator[Any]:
        rows = sorted(self.queryset, key=_order)
        for content_type, permissions in groupby(rows, key=lambda permission: permission.content_type):
            model = content_type.model_class()
            name = str(model._meta.verbose_name_plural) if model else str(content_type)
            yield name[:1].upper() + name[1:], [self.choice(permission) for permission in permissions]


def _order(permission: Permission) -> tuple[Any, ...]:
    label = f"{permission.content_type.app_label}.{permission.content_type.model}"
    actions = MEANINGFUL.get(label, ())
    action = permission.codename.split("_")[0]
    models = list(MEANINGFUL)
    return (
        models.index(label) if label in models else len(models),
        label,
        actions.index(action) if action in actions else len(actions),
        permission.codename,
    )


class PermissionTable(UnfoldAdminCheckboxSelectMultipleWidget):
    """A table with a line for each model and a checkbox for each permission."""

    template_name = "admin/millm_site/permission_table.html"

    def _render(self, template_name: str, context: dict[str, Any], renderer: Any = None) -> SafeString:
        return render_to_string(template_name, context)  # the renderer of forms does not search `templates`


class PermissionsField(ModelMultipleChoiceField[Permission]):
    iterator = _ByModel
    widget = PermissionTable

    def label_from_instance(self, permission: Permission) -> str:
        return permission.codename.split("_")[0]


class PermissionsForm(ModelForm[Any]):
    """A form with a field of permissions. It also offers the held permissions, so that saving keeps them."""

    permissions_field = "permissions"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field: Any = self.fields.get(self.permissions_field)  # the form of a viewer has no such field
        if field is not None and self.instance.pk:
            held = getattr(self.instance, self.permissions_field).values("pk")
            offered = field.queryset.values("pk")
            field.queryset = Permission.objects.filter(pk__in=offered.union(held)).select_related("content_type")


class UserForm(UserChangeForm, PermissionsForm):
    permissions_field = "user_permissions"

    def clean(self) -> Any:
        cleaned = super().clean()
        for field in ("is_active", "is_staff", "is_superuser"):
            if field in self.changed_data and leaves_no_superuser([self.instance]):
                self.add_error(field, "This is the last superuser who can log in: make another one first.")
        return cleaned
