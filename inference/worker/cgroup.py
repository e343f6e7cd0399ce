"""The memory that a container's limit leaves: a process may not take all that the machine has free."""

from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")


def free_bytes() -> int | None:
    """The bytes that the limits of this process's control group and of its parents leave; None without a limit.

    The kernel drops unused pages of files first, so they count as free, as for the kubelet. Version 2 only:
    https://docs.kernel.org/admin-guide/cgroup-v2.html#memory-interface-files
    """
    lines = OWN.read_text().splitlines() if OWN.exists() else []
    own = next((line.removeprefix("0::") for line in lines if line.startswith("0::")), "/")
    folder = ROOT / own.lstrip("/")
    left = [_left(group) for group in (folder, *folder.parents) if group.is_relative_to(ROOT)]
    return min((free for free in left if free is not None), default=None)


def _left(group: Path) -> int | None:
    try:
        limit = (group / "memory.max").read_text().strip()
        if limit == "max":
            return None
        used = int((group / "memory.current").read_text())
        statistics = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except OSError:  # a group of another namespace, or of version 1
        return None
    return max(0, int(limit) - used + int(statistics["inactive_file"]))
