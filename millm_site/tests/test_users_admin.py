"""Users and groups in the admin: the ready-made groups, and nobody makes himself or others more than he is."""

from itertools import pairwise
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.core.management import call_command
from django.test import Client

from millm_site.accounts.groups import READY_MADE, make_groups, meaningful_permissions
from millm_site.models import APIKey

PASSWORD = "correct horse battery staple"


@pytest.fixture(autouse=True)
def groups(db: None) -> None:
    make_groups()  # another test may have emptied the tables


def user(name: str, *groups: str, **fields: Any) -> User:
    made = User.objects.create_user(name, password=PASSWORD, is_staff=True, **fields)
    made.groups.set(Group.objects.filter(name__in=groups))
    return made


def client_of(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def keeper() -> User:
    """One who may do all with users and groups, may see profiles, and is no superuser."""
    made = user("keeper", "Viewers")
    made.user_permissions.set(Permission.objects.filter(codename__regex="_(user|group)$"))
    return made


@pytest.fixture
def root() -> User:
    return User.objects.create_superuser("root", password=PASSWORD)


def form_of(user: User, **changes: Any) -> dict[str, Any]:
    form = {
        "username": user.username,
        "is_active": "on" if user.is_active else "",
        "is_staff": "on",
        "groups": [group.pk for group in user.groups.all()],
        "user_permissions": [permission.pk for permission in user.user_permissions.all()],
        "is_superuser": "on" if user.is_superuser else "",
        **changes,
    }
    return {name: value for name, value in form.items() if value != ""}


def permission(name: str) -> Permission:
    app, codename = name.split(".")
    return Permission.objects.get(content_type__app_label=app, codename=codename)


# --- the groups ---


def test_each_ready_made_group_may_do_what_the_one_before_it_may() -> None:
    allowed = [set(Group.objects.get(name=name).permissions.all()) for name in READY_MADE]
    assert all(fewer < more for fewer, more in pairwise(allowed))
    assert allowed[-1] == set(meaningful_permissions())
    assert len(allowed[-1]) == sum(len(actions) for actions in READY_MADE["Administrators"].values())


@pytest.mark.parametrize(
    ("group", "may", "may_not"),
    [
        ("Viewers", "profiles.view_profile", "profiles.add_profile"),
        ("Editors", "steering.change_steeringstate", "profiles.activate_profile"),
        ("Operators", "inference.change_languagemodel", "auth.view_user"),
        ("Administrators", "millm_site.add_apikey", "sessions.view_session"),
    ],
)
def test_a_group_may_do_what_its_name_says(group: str, may: str, may_not: str) -> None:
    member = user("member", group)
    assert member.has_perm(may)
    assert not member.has_perm(may_not)


def test_what_people_made_of_the_groups_is_kept() -> None:
    Group.objects.get(name="Editors").delete()
    Group.objects.get(name="Viewers").permissions.clear()
    call_command("migrate", verbosity=0)
    assert sorted(Group.objects.values_list("name", flat=True)) == ["Administrators", "Operators", "Viewers"]
    assert Group.objects.get(name="Viewers").permissions.count() == 0


def test_the_forms_offer_what_means_something_here(root: User) -> None:
    for page in (f"/admin/auth/user/{root.pk}/change/", "/admin/auth/group/add/"):
        text = client_of(root).get(page).content.decode()
        assert 'aria-label="Profiles"' in text
        for nothing in ("session", "content type", "log entr", "historical", "access attempt"):
            assert nothing not in text.lower()


# --- a superuser ---


def test_a_superuser_makes_a_user_with_a_group(root: User) -> None:
    viewers = Group.objects.get(name="Viewers")
    form = {"username": "new", "usable_password": "true", "password1": PASSWORD, "password2": PASSWORD}
    client_of(root).post("/admin/auth/user/add/", {**form, "is_staff": "on", "groups": [viewers.pk]})
    made = User.objects.get(username="new")
    assert made.is_staff
    assert made.has_perm("profiles.view_profile")
    assert made.check_password(PASSWORD)


def test_permissions_that_are_not_offered_are_kept(root: User) -> None:
    other, odd = user("other"), permission("sessions.view_session")
    other.user_permissions.add(odd)
    page = f"/admin/auth/user/{other.pk}/change/"
    assert client_of(root).post(page, form_of(other, first_name="O")).status_code == 302
    assert list(other.user_permissions.all()) == [odd]


@pytest.mark.parametrize("field", ["is_active", "is_staff", "is_superuser"])
def test_the_last_superuser_stays_one(root: User, field: str) -> None:
    form = form_of(root)
    del form[field]
    refused = client_of(root).post(f"/admin/auth/user/{root.pk}/change/", form)
    assert "This is the last superuser who can log in" in refused.content.decode()
    assert getattr(User.objects.get(pk=root.pk), field)
    User.objects.create_superuser("second", password=PASSWORD)
    assert client_of(root).post(f"/admin/auth/user/{root.pk}/change/", form).status_code == 302


def test_the_last_superusers_are_not_deleted(root: User) -> None:
    second = User.objects.create_superuser("second", password=PASSWORD)
    both = {"action": "delete_selected", "_selected_action": [root.pk, second.pk], "post": "yes"}
    page = client_of(root).post("/admin/auth/user/", both).content.decode()
    assert "The last superuser who can log in" in page
    assert User.objects.count() == 2
    assert client_of(root).post(f"/admin/auth/user/{second.pk}/delete/", {"post": "yes"}).status_code == 302
    client_of(root).post(f"/admin/auth/user/{root.pk}/delete/", {"post": "yes"})
    assert list(User.objects.all()) == [root]


def test_the_lists_cost_a_bounded_number_of_queries(root: User, django_assert_max_num_queries: Any) -> None:
    for number in range(30):
        user(f"user{number}", "Viewers", "Editors")
    client = client_of(root)
    for page in ("/admin/auth/user/", "/admin/auth/group/"):
        with django_assert_max_num_queries(14):
            assert client.get(page).status_code == 200
    viewer = user("looks")
    viewer.user_permissions.add(permission("auth.view_user"))
    client, page = client_of(viewer), f"/admin/auth/user/{User.objects.get(username='user1').pk}/change/"
    with django_assert_max_num_queries(14):
        assert client.get(page).status_code == 200


# --- who may change users and is no superuser ---


def test_he_cannot_make_himself_a_superuser(keeper: User) -> None:
    client_of(keeper).post(f"/admin/auth/user/{keeper.pk}/change/", form_of(keeper, is_superuser="on"))
    assert not User.objects.get(pk=keeper.pk).is_superuser


def test_he_cannot_grant_permissions_that_he_lacks(keeper: User) -> None:
    other, client = user("other"), client_of(keeper)
    change = permission("profiles.change_profile")
    for owner in (keeper, other):
        held = [one.pk for one in owner.user_permissions.all()]
        form = form_of(owner, user_permissions=[*held, change.pk])
        refused = client.post(f"/admin/auth/user/{owner.pk}/change/", form)
        assert "expected one of the offered choices" in refused.content.decode()
        assert not owner.user_permissions.filter(pk=change.pk).exists()
    form = form_of(other, user_permissions=[permission("profiles.view_profile").pk])
    assert client.post(f"/admin/auth/user/{other.pk}/change/", form).status_code == 302
    assert User.objects.get(pk=other.pk).has_perm("profiles.view_profile")


def test_he_cannot_put_anybody_into_a_group_that_may_do_more(keeper: User) -> None:
    client, editors = client_of(keeper), Group.objects.get(name="Editors")
    form = {"username": "new", "usable_password": "true", "password1": PASSWORD, "password2": PASSWORD}
    refused = client.post("/admin/auth/user/add/", {**form, "groups": [editors.pk]})
    assert "expected one of the offered choices" in refused.content.decode()
    client.post(f"/admin/auth/user/{keeper.pk}/change/", form_of(keeper, groups=[editors.pk]))
    assert not editors.user_set.exists()


def test_he_cannot_make_a_group_more_than_himself(keeper: User) -> None:
    client, change = client_of(keeper), permission("profiles.change_profile")
    client.post("/admin/auth/group/add/", {"name": "mine", "permissions": [change.pk]})
    assert not Group.objects.filter(name="mine").exists()
    viewers = Group.objects.get(name="Viewers")
    held = [one.pk for one in viewers.permissions.all()]
    client.post(f"/admin/auth/group/{viewers.pk}/change/", {"name": "Viewers", "permissions": [*held, change.pk]})
    assert not viewers.permissions.filter(pk=change.pk).exists()


@pytest.mark.parametrize("kind", ["superuser", "inactive superuser", "operator", "inactive operator"])
def test_he_only_sees_who_may_do_more(keeper: User, root: User, kind: str) -> None:
    """A password that he sets, or a login that he opens again, would be his own way to more."""
    if "superuser" in kind:
        stronger = User.objects.create_superuser("stronger", password=PASSWORD)
    else:
        stronger = user("stronger", "Operators")
    User.objects.filter(pk=stronger.pk).update(is_active="inactive" not in kind)
    client, page = client_of(keeper), f"/admin/auth/user/{stronger.pk}"
    assert client.get(f"{page}/change/").status_code == 200
    new = {"password1": "taken over by me", "password2": "taken over by me", "usable_password": "true"}
    refused = [
        client.post(f"{page}/password/", new),
        client.post(f"{page}/change/", form_of(stronger, username="taken", is_active="on")),
        client.post(f"{page}/delete/", {"post": "yes"}),
    ]
    assert [answer.status_code for answer in refused] == [403, 403, 403]
    chosen = {"action": "delete_selected", "_selected_action": [stronger.pk], "post": "yes"}
    client.post("/admin/auth/user/", chosen)
    kept = User.objects.get(username="stronger")
    assert kept.check_password(PASSWORD)
    assert kept.is_active == ("inactive" not in kind)


def test_he_only_sees_groups_that_may_do_more(keeper: User) -> None:
    editors = Group.objects.get(name="Editors")
    page = f"/admin/auth/group/{editors.pk}"
    client = client_of(keeper)
    assert client.get(f"{page}/change/").status_code == 200
    assert client.post(f"{page}/change/", {"name": "x"}).status_code == 403
    assert client.post(f"{page}/delete/", {"post": "yes"}).status_code == 403


def test_he_manages_those_who_may_do_less(keeper: User) -> None:
    viewer, client = user("viewer", "Viewers"), client_of(keeper)
    page = f"/admin/auth/user/{viewer.pk}"
    assert client.post(f"{page}/change/", form_of(viewer, first_name="Vi")).status_code == 302
    new = {"password1": "another long password", "password2": "another long password", "usable_password": "true"}
    assert client.post(f"{page}/password/", new).status_code == 302
    changed = User.objects.get(pk=viewer.pk)
    assert (changed.first_name, changed.check_password("another long password")) == ("Vi", True)
    assert list(changed.groups.values_list("name", flat=True)) == ["Viewers"]
    assert client.post(f"{page}/delete/", {"post": "yes"}).status_code == 302


# --- API keys ---

KEY_FORM = {"name": "laptop", "expires": "", "expires_on": "", "requests_per_minute": ""}


def test_who_is_no_superuser_makes_keys_for_himself_only(root: User) -> None:
    administrator = user("boss", "Administrators")
    client = client_of(administrator)
    assert 'name="user"' not in client.get("/admin/millm_site/apikey/add/").content.decode()
    client.post("/admin/millm_site/apikey/add/", {**KEY_FORM, "user": root.pk})
    assert APIKey.objects.get().user == administrator


def test_a_key_stays_its_users(root: User) -> None:
    administrator = user("boss", "Administrators")
    key = APIKey.objects.issue(administrator, "mine")[0]
    form = {"name": "renamed", "user": root.pk, "requests_per_minute": "5", "expiry_0": "", "expiry_1": ""}
    assert client_of(administrator).post(f"/admin/millm_site/apikey/{key.pk}/change/", form).status_code == 302
    key.refresh_from_db()
    assert (key.user, key.name, key.requests_per_minute) == (administrator, "renamed", 5)
