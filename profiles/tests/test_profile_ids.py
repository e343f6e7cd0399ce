"""The ids of profiles, which stand in URLs of REST and of the admin."""

import uuid
from types import SimpleNamespace

import pytest

from profiles import models


def test_an_id_is_the_same_in_the_urls_of_the_admin(monkeypatch: pytest.MonkeyPatch) -> None:
    """The admin reads `_40` as `@`: such an id would need another spelling there."""
    made = iter(
        ["401d59e1d6ae41c38930f318d2dca70e", "2251d59e1d6ae41c38930f318d2dca70", "a01d59e1d6ae41c38930f318d2dca70e"]
    )
    monkeypatch.setattr(uuid, "uuid4", lambda: SimpleNamespace(hex=next(made)))
    assert models.new_id() == "prof_a01d59e1d6ae41c38930f318d2dca70e"
