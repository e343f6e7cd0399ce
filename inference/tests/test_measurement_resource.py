"""The measuring of an SAE by REST and by command: what is stored, refused, shown and cancelled."""

import gzip
import io
import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from asgiref.sync import async_to_sync
from django.core.management import CommandError, call_command
from django.db.models.functions import Now
from rest_framework.test import APIClient

from inference.measuring.models import CHUNK_BYTES, CorpusChunk, Measurement
from inference.models import LanguageModel
from inference.tests.test_model_resources import user
from steering.models import SAE

pytestmark = pytest.mark.django_db
SLEEP = "inference.management.commands.measure_features.sleep"
URL = "/api/saes/s/measure"
HOOK = {"d_in": 16, "d_sae": 100, "layer": 2, "hook_name": "blocks.2.hook_resid_post"}


@pytest.fixture
def sae() -> SAE:
    """An SAE that fits the current model."""
    model = LanguageModel.objects.create(name="tiny", source="/tiny", d_model=16, num_layers=4, context_length=512)
    model.make_current()
    return SAE.objects.create(id="s", source="/sae", status="ready", **HOOK)


@pytest.fixture
def api() -> APIClient:
    return user("change_sae", "view_sae")


def post(api: APIClient, body: bytes | str, url: str = URL) -> Any:
    given = body.encode() if isinstance(body, str) else body
    return api.post(url, given, content_type="application/octet-stream")


def stored() -> list[Any]:
    return [prompt for _, prompt in Measurement.objects.get().texts(0)]


def test_texts_a_line_are_stored_and_wait_for_a_worker(api: APIClient, sae: SAE) -> None:
    answer = post(api, "\ufeffone fox\r\n\n  two foxes  \nthree")
    assert answer.status_code == 202, answer.data
    shown = {name: answer.data[name] for name in ("sae", "model", "status", "waits", "texts", "tokens", "error")}
    assert shown == {
        "sae": "s",
        "model": "tiny",
        "status": "queued",
        "waits": True,
        "texts": 3,
        "tokens": 0,
        "error": "",
    }
    assert stored() == ["one fox", "two foxes", "three"]
    assert api.get(URL).data == answer.data


@pytest.mark.parametrize("pack", [lambda text: text, gzip.compress])
def test_json_lines_are_texts_and_conversations(api: APIClient, sae: SAE, pack: Callable[[bytes], bytes]) -> None:
    chat = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi\u2028there"}]
    lines = [{"text": " as it is ", "url": "x"}, {"messages": chat}]
    body = "\n\n".join(json.dumps(line, ensure_ascii=False) for line in lines).encode()
    assert post(api, pack(body)).data["texts"] == 2
    assert stored() == [" as it is ", chat]


def test_a_form_takes_the_file_too(api: APIClient, sae: SAE) -> None:
    file = io.BytesIO(b"one\ntwo")
    file.name = "corpus.txt"
    assert api.post(URL, {"file": file}, format="multipart").data["texts"] == 2
    assert [where for where, _ in Measurement.objects.get().texts(0)] == ["corpus.txt, line 1", "corpus.txt, line 2"]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("no json", "line 3: character 1: expected a value"),
        ("[1]", "line 3: got a list: expected"),
        ('{"txt": "x"}', "line 3: got an object with txt: expected"),
        ('{"text": "x", "messages": []}', "line 3: got an object with text, messages"),
        ('{"text": 5}', "line 3: got text: 5"),
        ('{"text": " "}', "line 3: got an empty text"),
        ('{"text": "a", "text": "b"}', "the key 'text' is given twice"),
        ('{"text": "\\ud800"}', "half of a surrogate pair"),
        ('{"messages": []}', "line 3: got messages: []"),
        ('{"messages": [{"role": "user"}]}', "line 3: got the message {'role': 'user'}"),
        ('{"messages": [{"role": "user", "content": null}]}', "line 3: got content: None"),
    ],
)
def test_a_bad_line_is_refused_by_its_number_and_nothing_is_stored(
    api: APIClient, sae: SAE, bad: str, message: str
) -> None:
    good = "\n".join(['{"text": "good"}'] * 2)
    answer = post(api, f"{good}\n{bad}\n{good}")
    assert (answer.status_code, answer.data["code"], answer.data["line"]) == (400, "invalid_corpus", 3)
    assert message in answer.data["detail"]
    assert not Measurement.objects.exists()
    assert not CorpusChunk.objects.exists()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"\n \n", "no text was found"),
        (b"fine\n\xff", "line 2: this is not UTF-8 text"),
        (gzip.compress(b"fine\n" * 100, mtime=0)[:-20], "the gzip file is damaged"),
        (b"a\n" + b"x" * (2**20 + 1), "line 2: the line has more than 1,048,576 bytes"),
    ],
)
def test_a_file_that_is_no_text_is_refused(api: APIClient, sae: SAE, body: bytes, message: str) -> None:
    answer = post(api, body)
    assert (answer.status_code, answer.data["code"]) == (400, "invalid_corpus")
    assert message in answer.data["detail"]
    assert not Measurement.objects.exists()


def test_more_text_than_allowed_is_refused(api: APIClient, sae: SAE, settings: Any) -> None:
    settings.MEASURE_MAX_BYTES = 100
    answer = post(api, gzip.compress(b"nine byte\n" * 11))
    assert answer.status_code == 400
    assert "line 11: the texts have more than 100 bytes" in answer.data["detail"]


def test_texts_of_many_chunks_are_read_from_any_position(api: APIClient, sae: SAE) -> None:
    texts = [f"{number} " + "x" * 300 for number in range(3 * CHUNK_BYTES // 300)]
    post(api, "\n".join(texts))
    assert CorpusChunk.objects.count() > 2
    row = Measurement.objects.get()
    for position in (0, 1, 200, 219, 220, len(texts) - 1, len(texts)):
        assert [prompt for _, prompt in row.texts(position)] == texts[position:]


def test_a_second_measuring_is_refused_until_the_first_has_ended(api: APIClient, sae: SAE) -> None:
    post(api, "one")
    refused = post(api, "two")
    assert (refused.status_code, refused.data["code"]) == (409, "measuring_in_progress")
    cancelled = api.post(f"{URL}/cancel")
    assert (cancelled.status_code, cancelled.data["status"], cancelled.data["waits"]) == (200, "cancelled", False)
    assert not CorpusChunk.objects.exists()
    assert api.post(f"{URL}/cancel").data["code"] == "nothing_to_cancel"
    assert post(api, "two").status_code == 202
    assert stored() == ["two"]


def test_one_that_failed_goes_on_when_asked(api: APIClient, sae: SAE) -> None:
    assert api.post(f"{URL}/retry").status_code == 404
    post(api, "one")
    assert api.post(f"{URL}/retry").status_code == 409
    Measurement.objects.update(status="error", error="no encoder", position=1, due_at=None, attempts=3)
    retried = api.post(f"{URL}/retry")
    assert (retried.data["status"], retried.data["error"], retried.data["waits"]) == ("queued", "", True)
    row = Measurement.objects.get()
    assert (row.position, row.attempts) == (1, 0)


def test_what_does_not_fit_the_current_model_is_refused(api: APIClient, sae: SAE) -> None:
    SAE.objects.update(d_in=8)
    assert post(api, "one").data["code"] == "sae_incompatible"
    LanguageModel.objects.get().unload()
    assert post(api, "one").data["code"] == "no_current_model"
    assert post(api, "one", "/api/saes/other/measure").status_code == 404
    assert not Measurement.objects.exists()


def test_measuring_needs_the_permission_to_change_the_sae(sae: SAE) -> None:
    viewer = user("view_sae")
    assert post(viewer, "one").status_code == 403
    assert viewer.get(URL).status_code == 404
    post(user("change_sae"), "one")
    assert viewer.get(URL).data["asked_by"].startswith("uchange")
    assert viewer.post(f"{URL}/cancel").status_code == 403
    blind = user("view_profile")
    assert blind.get(URL).status_code == 403


def test_who_may_not_view_sees_only_the_state(sae: SAE) -> None:
    answer = post(user("change_sae"), "one")
    assert answer.data == {"sae": "s", "status": "queued", "progress": None, "error": ""}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("size", "status"), [(2900, 202), (3100, 400), (4100, 413)])
def test_a_corpus_may_be_larger_than_other_bodies(
    api_key: str, sae: SAE, settings: Any, size: int, status: int
) -> None:
    from millm_site.asgi import application

    settings.DATA_UPLOAD_MAX_MEMORY_SIZE, settings.MEASURE_MAX_BYTES = 1000, 2990

    async def send() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://localhost") as client:
            headers = {"Authorization": f"Bearer {api_key}", "Content-Type": "text/plain"}
            return await client.post(URL, content=(b"word " * 1000)[:size], headers=headers)

    answer = async_to_sync(send)()
    assert answer.status_code == status


def run(*words: str) -> tuple[str, str]:
    """stdout and stderr."""
    out, told = StringIO(), StringIO()
    call_command("measure_features", *words, stdout=out, stderr=told)
    return out.getvalue(), told.getvalue()


def test_the_command_stores_files_and_shows_the_progress_until_the_end(
    sae: SAE, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    (tmp_path / "b.jsonl").write_text('{"text": "three"}')
    rows = Measurement.objects.filter(sae=sae)
    changes = iter(
        [
            {"status": "measuring", "progress": 0.5, "tokens": 1200, "due_at": None},
            {"status": "measured", "progress": 1.0, "tokens": 2400, "due_at": None},
        ]
    )
    monkeypatch.setattr(SLEEP, lambda _: rows.update(**next(changes)))
    SAE.objects.update(residual_norm=12.345)
    out, told = run("s", str(tmp_path / "a.txt"), str(tmp_path / "b.jsonl"))
    assert out == "measured\n"
    assert told.splitlines() == [
        "3 texts of SAE s are measured by tiny.",
        "queued: waits for a worker that serves tiny",
        "measuring 50%, 1,200 tokens",
        "100 features of SAE s are measured over 2,400 tokens; mean norm of the residual stream: 12.35.",
    ]


def test_ctrl_c_leaves_the_measuring_going_on_and_the_command_shows_it_again(
    sae: SAE, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.txt").write_text("one")

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(SLEEP, interrupt)
    with pytest.raises(SystemExit) as ended:
        run("s", str(tmp_path / "a.txt"))
    assert ended.value.code == 130
    assert Measurement.objects.get().status == "queued"
    monkeypatch.setattr(SLEEP, lambda _: Measurement.objects.update(status="error", error="no encoder"))
    with pytest.raises(CommandError, match="no encoder"):
        run("s")
    monkeypatch.setattr(SLEEP, lambda _: Measurement.objects.update(status="measured"))
    _, told = run("s")
    assert told.startswith("It failed: no encoder. It goes on now.\nqueued")


def test_the_command_cancels_and_refuses(sae: SAE, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "bad").write_text('{"text": "x"}\n{"text": 1}')
    with pytest.raises(CommandError, match="bad, line 2: got text: 1"):
        run("s", str(tmp_path / "bad"))
    with pytest.raises(CommandError, match="was not measured yet"):
        run("s")
    assert run("s", str(tmp_path / "a.txt"), "--no-wait")[0] == "queued\n"
    with pytest.raises(CommandError, match="being measured already"):
        run("s", str(tmp_path / "a.txt"))
    with pytest.raises(CommandError, match="takes no files"):
        run("s", str(tmp_path / "a.txt"), "--cancel")
    assert run("s", "--cancel")[0] == "cancelled\n"
    with pytest.raises(CommandError, match="there is no SAE 't'"):
        run("t")
    with pytest.raises(CommandError, match="cannot be read"):
        run("s", str(tmp_path / "none"))


def test_a_worker_is_asked_for_at_the_time_of_postgresql(sae: SAE, api: APIClient) -> None:
    post(api, "one")
    assert Measurement.objects.filter(due_at__lte=Now()).exists()
