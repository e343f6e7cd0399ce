"""What a container's limit leaves is what a model may take, however much the machine has."""

from pathlib import Path

import psutil
import pytest
import torch

from inference.worker import cgroup, memory

GIB = 2**30


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The group of this process, in another one, in the root."""
    monkeypatch.setattr(cgroup, "ROOT", tmp_path / "cgroup")
    monkeypatch.setattr(cgroup, "OWN", tmp_path / "own")
    (tmp_path / "own").write_text("1:cpu:/elsewhere\n0::/pod/container\n")
    return tmp_path / "cgroup" / "pod" / "container"


def limit(group: Path, most: object, used: int = GIB, inactive_file: int = 0) -> None:
    group.mkdir(parents=True, exist_ok=True)
    (group / "memory.max").write_text(f"{most}\n")
    (group / "memory.current").write_text(f"{used}\n")
    (group / "memory.stat").write_text(f"anon 1\ninactive_file {inactive_file}\nactive_file 7\n")


def test_the_narrowest_limit_counts_and_pages_that_nobody_reads_are_free(group: Path) -> None:
    limit(group, 8 * GIB, used=3 * GIB, inactive_file=GIB)
    limit(group.parent, 20 * GIB)
    assert cgroup.free_bytes() == 6 * GIB
    limit(group.parent, 4 * GIB, used=5 * GIB)
    assert cgroup.free_bytes() == 0


def test_a_container_that_sees_its_group_as_the_root_has_its_limit(group: Path) -> None:
    limit(cgroup.ROOT, 4 * GIB)
    cgroup.OWN.write_text("0::/\n")
    assert cgroup.free_bytes() == 3 * GIB


def test_without_a_limit_the_machine_s_free_memory_counts(group: Path) -> None:
    assert cgroup.free_bytes() is None
    limit(group, "max")
    assert cgroup.free_bytes() is None
    assert memory.free_bytes(torch.device("cpu")) == pytest.approx(psutil.virtual_memory().available, rel=0.2)
    limit(group, GIB + 5)
    assert memory.free_bytes(torch.device("cpu")) == 5
