"""The measuring of an SAE in the admin: begun with a file, shown on the SAE's page, cancelled and tried again."""

from io import BytesIO
from typing import Any

import pytest
from django.test import Client

from inference.measuring.models import CorpusChunk, Measurement, SavedState
from inference.models import LanguageModel
from inference.tests.test_models_admin import MODEL, READY, SAES, staff, text
from steering.models import SAE

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_redis")]

PAGE, MEASURE = f"{SAES}s/change/", f"{SAES}s/measure/"


@pytest.fixture
def sae() -> SAE:
    LanguageModel.objects.create(name="tiny", source="/tiny", **MODEL).make_current()
    return SAE.objects.create(id="s", source="/sae", fingerprint="a" * 64, **READY)


def send(client: Client, body: bytes) -> Any:
    file = BytesIO(body)
    file.name = "texts.txt"
    return client.post(MEASURE, {"file": file}, follow=True)


def test_texts_are_measured_and_the_page_shows_the_progress(admin_client: Client, sae: SAE) -> None:
    assert "Not measured" in text(admin_client.get(PAGE))
    assert MEASURE in text(admin_client.get(PAGE))
    assert 'type="file"' in text(admin_client.get(MEASURE))
    begun = text(send(admin_client, b"one whale\ntwo whales"))
    assert "Stored 2 texts, to be read by tiny." in begun
    assert 'data-in-progress="s"' in begun
    assert "Waiting for a worker" in begun
    assert MEASURE not in begun
    Measurement.objects.update(status="measuring", progress=0.25, due_at=None)
    panel = text(admin_client.get(f"{SAES}progress/", {"id": "s", "part": "panel"}))
    assert "25 %" in panel
    Measurement.objects.update(status="measured", progress=1.0)
    SAE.objects.update(measured_tokens=12_345, residual_norm=6.789)
    panel = text(admin_client.get(f"{SAES}progress/", {"id": "s", "part": "panel"}))
    assert "12,345 tokens, mean norm of the residual stream" in " ".join(panel.split())
    assert "6.79" in panel
    assert "data-in-progress" not in panel


def test_a_bad_line_is_an_error_of_the_form(admin_client: Client, sae: SAE) -> None:
    shown = text(send(admin_client, b'{"text": "one"}\n{"text": 2}'))
    assert "Nothing was stored: texts.txt, line 2: got text: 2" in shown
    assert not Measurement.objects.exists()
    assert "This field is required" in text(admin_client.post(MEASURE))


def test_a_measuring_is_cancelled_and_one_that_failed_goes_on(admin_client: Client, sae: SAE) -> None:
    send(admin_client, b"one whale")
    Measurement.objects.update(status="error", error="the encoder is missing", due_at=None)
    shown = text(admin_client.get(PAGE))
    assert "the encoder is missing" in shown
    assert f"{SAES}s/retry_measuring/" in shown
    retried = text(admin_client.post(f"{SAES}s/retry_measuring/", {"next": PAGE}, follow=True))
    assert "Resumed the measuring of s." in retried
    assert Measurement.objects.get().waits
    cancelled = text(admin_client.post(f"{SAES}s/cancel_measuring/", {"next": PAGE}, follow=True))
    assert "Cancelled the measuring of s." in cancelled
    assert not CorpusChunk.objects.exists()
    again = text(admin_client.post(f"{SAES}s/cancel_measuring/", {"next": PAGE}, follow=True))
    assert "is cancelled already: nothing was cancelled" in again


def test_who_may_not_change_the_sae_sees_the_state_and_no_button(admin_client: Client, sae: SAE) -> None:
    send(admin_client, b"one whale")
    viewer = staff("view_sae")
    shown = text(viewer.get(PAGE))
    assert "Queued" in shown
    assert "cancel_measuring" not in shown
    assert viewer.get(MEASURE).status_code == 403
    for action in ("cancel_measuring", "retry_measuring"):
        assert viewer.post(f"{SAES}s/{action}/").status_code == 403
    assert Measurement.objects.get().waits


def test_an_sae_is_deleted_with_its_measuring(admin_client: Client, sae: SAE) -> None:
    send(admin_client, b"one whale")
    SavedState.write(Measurement.objects.get(), b"state")
    assert admin_client.get(f"{SAES}other/measure/").status_code == 404
    admin_client.post(f"{SAES}s/delete/", {"post": "yes"})
    for model in (SAE, Measurement, CorpusChunk, SavedState):
        assert not model.objects.exists()
