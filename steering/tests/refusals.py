"""What every test of a hostile SAE asks: that it is refused, soon and in little memory."""

import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from steering.formats import UnreadableSAE, read_config


@pytest.fixture(autouse=True)
def bounded() -> Iterator[None]:
    """A test takes at most 5 seconds of a processor and 32 MB."""
    tracemalloc.start()
    started = time.process_time()
    yield
    took_s, (_, peak) = time.process_time() - started, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert took_s < 5
    assert peak < 2**25


def refused(folder: Path) -> str:
    """What `read_config` says against a folder."""
    with pytest.raises(UnreadableSAE) as error:
        read_config(folder)
    assert len(str(error.value)) < 1000
    return str(error.value)
