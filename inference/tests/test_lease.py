"""The preparation of an SAE is one worker's at a time, and outlives it."""

import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db.models import F

from inference.tests.tiny import tiny_sae
from inference.worker.leases import lease as module
from inference.worker.leases.lease import Lease
from inference.worker.saes import preparation
from inference.worker.saes.preparation import prepare_next
from steering.models import SAE

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def sae(tmp_path: Path) -> SAE:
    """One whose fingerprint is to be computed."""
    tiny_sae(tmp_path / "sae")
    return SAE.objects.register(str(tmp_path / "sae"), sae_id="s", anywhere=True)


def now(sae: SAE) -> SAE:
    sae.refresh_from_db()
    return sae


def works() -> bool:
    return False


def stops() -> bool:
    return True


def test_what_waits_is_prepared_once(sae: SAE) -> None:
    assert sae.waits
    assert prepare_next(works)
    assert (now(sae).due_at, sae.is_under_way, len(sae.fingerprint)) == (None, False, 64)
    assert not prepare_next(works)
    sae.prepare()  # again, at somebody's wish
    assert prepare_next(works)


def test_what_a_worker_has_is_no_other_workers(sae: SAE, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEASE_S", 0.6)
    lease = Lease.take(SAE.objects.all(), works)
    assert lease is not None
    with lease:
        time.sleep(1.2)
        assert not now(sae).waits
        assert Lease.take(SAE.objects.all(), works) is None
        assert not lease.is_over()


def test_what_a_killed_worker_had_is_another_workers_soon(sae: SAE, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEASE_S", 0.3)
    lost = Lease.take(SAE.objects.all(), works)  # which nobody renews
    assert lost is not None
    assert not prepare_next(works)
    time.sleep(0.4)
    assert now(sae).waits
    assert prepare_next(works)
    assert now(sae).fingerprint
    with lost:  # as of a worker that was only held up
        pass
    assert now(sae).due_at is None


@pytest.mark.parametrize("left_by", ["who asked", "a killed worker"])
def test_what_waits_is_taken_up_although_the_clock_of_postgresql_is_set_back(sae: SAE, left_by: str) -> None:
    if left_by == "a killed worker":
        assert Lease.take(SAE.objects.all(), works)
    SAE.objects.update(due_at=F("due_at") + timedelta(hours=1))  # as that clock sees it then
    assert prepare_next(works)
    assert now(sae).fingerprint


def test_what_a_worker_that_stops_was_at_is_another_workers_at_once(sae: SAE) -> None:
    assert prepare_next(stops)
    assert now(sae).waits
    assert not sae.fingerprint
    assert sae.status == "ready"
    assert prepare_next(works)
    assert now(sae).fingerprint


@pytest.mark.parametrize("change", ["cancel", "prepare"])
def test_a_lease_is_over_when_the_sae_is_cancelled_or_asked_for_again(
    sae: SAE, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    monkeypatch.setattr(module, "LEASE_S", 0.3)
    SAE.objects.update(status="downloading")
    lease = Lease.take(SAE.objects.all(), works)
    assert lease is not None
    with lease:
        getattr(sae, change)()
        deadline = time.monotonic() + 5
        while not lease.is_over():
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert now(sae).waits == (change == "prepare")


def test_what_fails_is_told_and_not_tried_for_ever(sae: SAE, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise ValueError("broken")

    monkeypatch.setattr(preparation, "decoder_fingerprint", broken)
    with pytest.raises(ValueError, match="broken"):
        prepare_next(works)
    assert (now(sae).status, sae.error, sae.due_at) == ("error", "ValueError: broken", None)
