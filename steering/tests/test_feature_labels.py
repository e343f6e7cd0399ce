"""Feature labels: imported by command, REST and admin, found by their words, shown beside strengths."""

import gzip
import io
import json
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from rest_framework.test import APIClient

from inference.demo import register
from inference.demo.tiny.grammar import TOPICS
from inference.models import LanguageModel
from profiles.models import Profile
from steering.labels.files import InvalidLabelFile, LabelFile
from steering.labels.models import ImportedLabels
from steering.models import SAE, FeatureLabel, SteeringState
from steering.saes import FeaturesUnknown, NoSuchSAE

URL = "/api/saes/s/labels"
NEURONPEDIA = "neuronpedia/gpt-4o-mini/oai_token-act-pair"


def make_sae(sae_id: str, d_sae: int = 100) -> SAE:
    return SAE.objects.create(
        id=sae_id,
        source=f"/{sae_id}",
        d_in=16,
        d_sae=d_sae,
        layer=2,
        hook_name="blocks.2.hook_resid_post",
        status=SAE.Status.READY,
    )


@pytest.fixture
def sae(db: None) -> SAE:
    model = LanguageModel.objects.create(name="tiny", source="/t", d_model=16, num_layers=4, context_length=512)
    model.make_current()
    made = make_sae("s")
    model.attach(made)
    return made


@pytest.fixture
def client(db: None) -> APIClient:
    client = APIClient()
    client.force_authenticate(get_user_model().objects.create_superuser("root", password="x"))
    return client


def csv_file(*rows: str, header: str = "index,label", **options: Any) -> LabelFile:
    return LabelFile(io.BytesIO("\n".join([header, *rows]).encode()), **options)


def put(*rows: str, sae: str = "s", replace: bool = False, **options: Any) -> ImportedLabels:
    return FeatureLabel.objects.import_files(sae, [csv_file(*rows, **options)], replace=replace)


def stored() -> list[tuple[int, str, str]]:
    return list(FeatureLabel.objects.order_by("pk").values_list("index", "label", "source"))


def export(count: int = 3) -> bytes:
    """What Neuronpedia gives: JSON lines, gzipped."""
    fixed = {"modelId": "m", "layer": "2-res", "typeName": "oai_token-act-pair", "explanationModelName": "gpt-4o-mini"}
    rows = [json.dumps({**fixed, "index": str(i), "description": f"label {i}"}) for i in range(count)]
    return gzip.compress("\n".join(rows).encode())


# --- import ---


def test_the_same_file_twice_doubles_nothing_and_new_text_replaces_the_old(sae: SAE) -> None:
    for _ in range(2):
        assert put("3,whales", "4,ships") == ImportedLabels(2, 0, 2, ["file"])
    assert stored() == [(3, "whales", "file"), (4, "ships", "file")]
    put("4,boats")
    assert stored() == [(3, "whales", "file"), (4, "boats", "file")]


def test_a_feature_has_a_label_of_each_source_and_the_later_row_of_a_file_counts(sae: SAE) -> None:
    done = put("3,whales,a", "3,fish,b", "3,dolphins,a", "5,,a", header="index,label,source")
    assert done == ImportedLabels(4, 1, 2, ["a", "b"])
    assert sorted(stored()) == [(3, "dolphins", "a"), (3, "fish", "b")]


def test_replace_removes_what_came_from_the_same_source_and_nothing_else(sae: SAE) -> None:
    put("1,a", "2,b", source="old")
    put("1,a", source="other")
    make_sae("t")
    put("1,a", sae="t", source="old")
    put("2,c", source="old", replace=True)
    labels = FeatureLabel.objects.values_list("sae_id", "index", "label", "source")
    assert list(labels) == [("s", 1, "a", "other"), ("s", 2, "c", "old"), ("t", 1, "a", "old")]


def test_after_a_bad_row_nothing_is_imported_and_nothing_removed(sae: SAE) -> None:
    put("1,a")
    with pytest.raises(InvalidLabelFile, match="row 3: feature 100 is out of range: the SAE has 100 features"):
        put("2,b", "100,c", replace=True)
    with pytest.raises(InvalidLabelFile):
        FeatureLabel.objects.import_files("s", [csv_file("2,b"), csv_file("x,b")])
    assert stored() == [(1, "a", "file")]
    put("2,b")
    assert len(stored()) == 2


def test_an_sae_that_is_not_here_or_whose_width_is_not_known_gets_no_labels(db: None) -> None:
    with pytest.raises(NoSuchSAE):
        put("1,a", sae="nothing")
    make_sae("new", d_sae=0)
    with pytest.raises(FeaturesUnknown, match="download the SAE first"):
        put("1,a", sae="new")


def test_fifty_thousand_rows_go_through_one_import(db: None) -> None:
    make_sae("s", 50_000)
    done = FeatureLabel.objects.import_files("s", [LabelFile(io.BytesIO(export(50_000)))])
    assert done == ImportedLabels(50_000, 0, 50_000, [NEURONPEDIA])
    assert FeatureLabel.objects.of("s", [0, 49_999, 77]) == {0: "label 0", 77: "label 77", 49_999: "label 49999"}


def test_labels_go_with_their_sae(sae: SAE) -> None:
    make_sae("t")
    put("1,a", sae="t")
    SAE.objects.get(pk="t").delete()
    assert stored() == []


# --- search ---


@pytest.fixture
def words(sae: SAE) -> None:
    put(
        "1,whales and ships far out on the sea in a long sentence about very many other things",
        "2,a whale",
        "3,the whaler's harbor",
        "4,swimming in cold water",
        "5,O'Brien: 100% \\ (C++)",
        "6,Zürich",
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("whale", [2, 1, 3]),  # the word before what only begins so, the short label before the long one
        ("WHALES", [2, 1]),
        ("whal", [2, 3, 1]),
        ("whale se", [1]),
        ("ship whales", [1]),
        ("se whale", []),  # only the last word may be unfinished
        ("swimm", [4]),
        ("swim", [4]),
        ("swims water", [4]),
        ("züri", [6]),
        ("O'Br", [5]),
        ("c+", [5, 4]),
        ("the", [3, 1]),
        ("   ", []),
        ("!", []),
        ("' | \\ & :* !", []),
        ("nothing", []),
    ],
)
def test_a_search_finds_all_words_and_the_beginning_of_the_last_the_best_first(
    words: None, text: str, found: list[int]
) -> None:
    ranked = [label.index for label in FeatureLabel.objects.search(text)]
    assert sorted(ranked) == sorted(found)
    if text == "whale":
        assert ranked == found


def test_a_search_uses_its_index(words: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("SET LOCAL enable_indexscan = off")
    assert "feature_label_words" in FeatureLabel.objects.search("whal").explain()


# --- REST ---


def test_rest_lists_filters_and_searches(client: APIClient, words: None) -> None:
    put("2,a big whale", source="other")
    page = client.get(URL).json()
    assert (page["count"], page["count_is_exact"], page["next"]) == (7, True, None)
    assert page["results"][0]["index"] == 1
    assert client.get(f"{URL}?index=2&index=6&source=file").json()["results"] == [
        {"index": 2, "label": "a whale", "source": "file"},
        {"index": 6, "label": "Zürich", "source": "file"},
    ]
    found = client.get(f"{URL}?search=whale&page_size=1&page=2").json()
    assert (found["count"], found["results"][0]["label"]) == (4, "a big whale")
    assert client.get(f"{URL}?search=whale&source=other").json()["count"] == 1


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("index=-1", 400),
        ("index=x", 400),
        ("index=99999999999", 400),
        ("search=%00", 400),
        ("words=a", 400),
        ("page=2", 404),
    ],
)
def test_rest_refuses_what_it_cannot_read(client: APIClient, words: None, query: str, status: int) -> None:
    assert client.get(f"{URL}?{query}").status_code == status


def test_rest_knows_when_there_is_no_such_sae(client: APIClient, db: None) -> None:
    for answer in (
        client.get("/api/saes/none/labels"),
        client.delete("/api/saes/none/labels"),
        client.post("/api/saes/none/labels/import", b"index,label", content_type="text/csv"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "sae_not_found")


def test_rest_imports_a_body_and_a_form_and_deletes(client: APIClient, sae: SAE) -> None:
    told = client.post(f"{URL}/import", export(), content_type="application/gzip").json()
    assert told == {"rows": 3, "skipped": 0, "labels": 3, "sources": [NEURONPEDIA]}
    form = {"file": SimpleUploadedFile("mine.csv", b"index,label\n9,nine")}
    assert client.post(f"{URL}/import", form, format="multipart").json()["sources"] == ["mine.csv"]
    replaced = client.post(
        f"{URL}/import?source=mine.csv&replace=true", b"index,label\n8,eight", content_type="text/csv"
    )
    assert replaced.json()["labels"] == 1
    assert client.get(f"{URL}?source=mine.csv").json()["results"] == [
        {"index": 8, "label": "eight", "source": "mine.csv"}
    ]
    assert client.delete(f"{URL}?source=mine.csv").json() == {"deleted": 1}
    assert client.delete(URL).json() == {"deleted": 3}


def test_rest_tells_the_row_of_a_bad_file(client: APIClient, sae: SAE) -> None:
    refused = client.post(f"{URL}/import", b"index,label\n1,a\n500,b", content_type="text/csv")
    assert refused.status_code == 400
    assert refused.json() | {"detail": ""} == {"detail": "", "code": "invalid_label_file", "row": 3}
    assert "feature 500 is out of range" in refused.json()["detail"]
    assert client.post(f"{URL}/import", {}, format="multipart").status_code == 400
    assert stored() == []


def test_rest_needs_the_permissions_of_the_model(sae: SAE) -> None:
    user = get_user_model().objects.create_user("someone")
    client = APIClient()
    client.force_authenticate(user)

    def may(*actions: str) -> None:
        names = [f"{action}_featurelabel" for action in actions]
        user.user_permissions.set(Permission.objects.filter(codename__in=names))
        for cache in ("_perm_cache", "_user_perm_cache"):
            user.__dict__.pop(cache, None)

    def imported(query: str = "") -> int:
        return client.post(f"{URL}/import{query}", b"index,label\n1,a", content_type="text/csv").status_code

    assert client.get(URL).status_code == 403
    may("view")
    assert client.get(URL).status_code == 200
    may("add")
    assert imported() == 403  # it may overwrite
    may("add", "change")
    assert (imported(), imported("?replace=true"), client.delete(URL).status_code) == (200, 403, 403)
    may("add", "change", "delete")
    assert (imported("?replace=true"), client.delete(URL).status_code) == (200, 200)


@pytest.mark.parametrize(("query", "queries"), [("", 3), ("?index=1", 3), ("?search=whale", 3)])
def test_a_page_takes_a_fixed_number_of_queries(
    client: APIClient, words: None, django_assert_num_queries: Any, query: str, queries: int
) -> None:
    with django_assert_num_queries(queries):
        client.get(f"{URL}{query}")


# --- beside strengths ---


def test_the_label_of_the_source_that_came_last_is_shown(sae: SAE) -> None:
    put("1,old", source="zz")
    put("1,new", source="aa")
    assert FeatureLabel.objects.of("s", [1, 2]) == {1: "new"}
    assert FeatureLabel.objects.of("other", [1]) == FeatureLabel.objects.of(None, [1]) == {}


def test_labels_are_shown_with_the_live_steering_and_with_profiles(client: APIClient, words: None) -> None:
    answer = client.put("/api/steering", {"values": {"2": 4, "50": 1}}).json()
    assert answer["labels"] == client.get("/api/steering").json()["labels"] == {"2": "a whale"}
    past = client.get(f"/api/steering/history/{answer['version']}").json()
    assert past["labels"] == {"2": "a whale"}
    made = client.post("/api/profiles", {"name": "ocean", "steering": {"6": 1.0, "2": 1.0}}).json()
    assert made["labels"] == {"2": "a whale", "6": "Zürich"}
    read = client.get(f"/api/profiles/{made['id']}").json()
    assert client.put(f"/api/profiles/{made['id']}", read).json()["labels"] == made["labels"]
    exported = client.get(f"/api/profiles/{made['id']}/export").json()
    assert "labels" not in json.dumps(exported)


def test_the_labels_of_a_page_of_profiles_take_one_query(
    client: APIClient, words: None, django_assert_num_queries: Any
) -> None:
    make_sae("t")
    put("1,of another SAE", sae="t")
    for number in range(12):
        sae_id = "t" if number % 2 else "s"
        Profile.objects.create(name=f"p{number:02}", model_id="m", sae_id=sae_id, layer=2, strengths={1: 1.0, 6: 2.0})
    with django_assert_num_queries(4):  # count, page, labels, active profile
        page = client.get("/api/profiles").json()["results"]
    assert [list(profile["labels"]) for profile in page[:2]] == [["1", "6"], ["1"]]
    assert page[1]["labels"]["1"] == "of another SAE"


# --- admin ---


def test_the_admin_shows_labels_beside_strengths(admin_client: Client, words: None) -> None:
    SteeringState.objects.load().replace({2: 4.0, 50: -1.5})
    profile = Profile.objects.create_from(name="ocean")
    for page in ("steering/steeringstate/", f"profiles/profile/{profile.pk}/change/"):
        shown = admin_client.get(f"/admin/{page}").content.decode()
        assert '"labels": {"2": "a whale"}' in shown
    assert admin_client.get("/admin/profiles/profile/add/").status_code == 200


def test_the_admin_lists_searches_and_shows_labels(admin_client: Client, words: None) -> None:
    found = admin_client.get("/admin/steering/featurelabel/?q=whale").content.decode()
    assert "Import labels" in found
    assert "Zürich" not in found
    assert found.index("a whale") < found.index("whales and ships") < found.index("whaler")
    label = FeatureLabel.objects.get(index=6)
    assert admin_client.get("/admin/steering/featurelabel/?sae__id__exact=s").status_code == 200
    assert "Zürich" in admin_client.get(f"/admin/steering/featurelabel/{label.pk}/change/").content.decode()


def test_the_admin_deletes_all_of_an_sae_without_loading_them(
    admin_client: Client, words: None, django_assert_max_num_queries: Any
) -> None:
    FeatureLabel.objects.bulk_create(
        FeatureLabel(sae_id="s", index=index, label=f"galaxy {index}", source="bulk") for index in range(150)
    )
    url = "/admin/steering/featurelabel/"
    fields = {"action": "delete_selected", "select_across": "1", "_selected_action": "all"}
    asked = admin_client.post(f"{url}?q=galaxy", fields).content.decode()
    assert "these 150 feature labels" in asked
    assert "and 50 more" in asked
    assert asked.count("_selected_action") == 1
    with django_assert_max_num_queries(20):
        told = admin_client.post(f"{url}?q=galaxy", {**fields, "post": "yes"}, follow=True).content.decode()
    assert "150 feature labels deleted." in told
    assert not FeatureLabel.objects.filter(source="bulk").exists()
    assert FeatureLabel.objects.exists()
    one = FeatureLabel.objects.first()
    assert one is not None
    chosen = {"action": "delete_selected", "_selected_action": [one.pk]}
    assert one.label in unescape(admin_client.post(url, chosen).content.decode())
    admin_client.post(url, {**chosen, "post": "yes"})
    assert not FeatureLabel.objects.filter(pk=one.pk).exists()


def test_the_admin_imports_a_file(admin_client: Client, sae: SAE) -> None:
    url = "/admin/steering/featurelabel/import/"
    assert 'type="file"' in admin_client.get(url).content.decode()
    bad = {"sae": "s", "file": SimpleUploadedFile("a.csv", b"index,label\n700,x")}
    assert "feature 700 is out of range" in admin_client.post(url, bad).content.decode()
    good = {"sae": "s", "source": "me", "file": SimpleUploadedFile("a.jsonl.gz", export())}
    assert "3 labels imported" in admin_client.post(url, good, follow=True).content.decode()
    assert FeatureLabel.objects.filter(source="me").count() == 3


def test_the_admin_imports_for_those_only_who_may(client: Client, sae: SAE) -> None:
    viewer = get_user_model().objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_featurelabel"))
    browser = Client()
    browser.force_login(viewer)
    assert "Import labels" not in browser.get("/admin/steering/featurelabel/").content.decode()
    assert browser.get("/admin/steering/featurelabel/import/").status_code == 403


def test_the_admin_and_rest_want_the_same_permissions_for_an_import(sae: SAE) -> None:
    user = get_user_model().objects.create_user("someone", is_staff=True)
    browser = Client()
    browser.force_login(user)

    def imported(*actions: str, **fields: str) -> tuple[int, str]:
        names = [f"{action}_featurelabel" for action in ("view", *actions)]
        user.user_permissions.set(Permission.objects.filter(codename__in=names))
        form = {"sae": "s", "source": "me", "file": SimpleUploadedFile("a.csv", b"index,label\n1,a"), **fields}
        answer = browser.post("/admin/steering/featurelabel/import/", form)
        return answer.status_code, answer.content.decode()

    assert imported("add")[0] == 403  # it may overwrite
    assert imported("add", "change")[0] == 302
    status, page = imported("add", "change", replace="on")
    assert status == 200
    assert "needs the permission steering.delete_featurelabel" in page
    assert imported("add", "change", "delete", replace="on")[0] == 302


# --- command ---


def test_the_command_imports_several_files_with_progress_on_stderr(sae: SAE, tmp_path: Path) -> None:
    (tmp_path / "batch-0.jsonl.gz").write_bytes(export())
    (tmp_path / "mine.csv").write_text("index,label\n9,nine\n")
    errors, out = io.StringIO(), io.StringIO()
    call_command("import_labels", "s", *sorted(map(str, tmp_path.iterdir())), stderr=errors, stdout=out)
    assert out.getvalue() == ""
    assert errors.getvalue().splitlines() == [
        "batch-0.jsonl.gz: 3 rows, 100% of the file",
        "mine.csv: 1 rows, 100% of the file",
        f"4 labels of SAE s imported from mine.csv, {NEURONPEDIA}: 4 rows, 0 of them without a label.",
    ]


@pytest.mark.parametrize(
    ("sae_id", "name", "code", "told"),
    [
        ("s", "bad.csv", 1, "bad.csv, row 2: feature 900 is out of range"),
        ("s", "missing.csv", 1, "missing.csv cannot be read: No such file"),
        ("none", "bad.csv", 1, "there is no SAE none; the registered SAEs are: s"),
    ],
)
def test_the_command_says_what_it_refuses(
    sae: SAE, tmp_path: Path, sae_id: str, name: str, code: int, told: str
) -> None:
    (tmp_path / "bad.csv").write_text("index,label\n900,x\n")
    with pytest.raises(CommandError, match=told) as refused:
        call_command("import_labels", sae_id, str(tmp_path / name))
    assert refused.value.returncode == code
    assert str(refused.value).endswith("Nothing was imported.")
    assert stored() == []


def test_the_command_is_told_how_it_is_used(db: None) -> None:
    with pytest.raises(CommandError, match="FILE"):
        call_command("import_labels", "s")


# --- the demo ---


def test_the_demo_comes_with_labels_that_say_what_its_profiles_steer(db: None) -> None:
    register.register_demo()
    labels = FeatureLabel.objects.filter(sae=register.SAE_ID)
    assert labels.count() > 400
    assert set(labels.values_list("source", flat=True)) == {"demo"}
    for topic, words in TOPICS.items():
        strengths = Profile.objects.get(name=topic).strengths
        shown = ", ".join(FeatureLabel.objects.of(register.SAE_ID, strengths).values()).split(", ")
        known = [word for word in shown if any(word in other.words() for other in TOPICS.values())]
        assert sum(word in words.words() for word in known) > len(known) / 2, (topic, shown)
