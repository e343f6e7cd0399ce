"""Sources of models and SAEs: a hub id, or a folder below MILLM_MODEL_DIRS."""

from pathlib import Path

from django.conf import settings

from steering.errors import Refused


class BadSource(Refused):
    """Error: a folder is missing, may not be read, or lacks the expected files."""

    code = "bad_source"

    def __init__(self, message: str) -> None:
        super().__init__(message, field="source")


def is_folder(source: str) -> bool:
    """True if `source` is a folder and not a hub id: it starts like a path."""
    return source.startswith(("/", "./", "../", "~"))


def local_folder(source: str, *, anywhere: bool = False) -> Path:
    """The folder, symlinks resolved. Raises BadSource if it is not a folder or is outside MILLM_MODEL_DIRS.

    `anywhere` lifts the second condition, for callers who have a shell on this machine anyway.
    """
    try:
        folder = Path(source).expanduser().resolve()
        is_there = folder.is_dir()
    except (OSError, RuntimeError, ValueError) as error:  # a name that is too long, a loop of links, an unknown ~user
        raise BadSource(f"source: {source[:200]!r} cannot be read: {error}") from error
    allowed = [Path(root).expanduser().resolve() for root in settings.MODEL_DIRS]
    if not anywhere and not any(folder.is_relative_to(root) for root in allowed):
        roots = ", ".join(map(str, allowed))
        raise BadSource(
            f"source: {source} is outside the model folders ({roots}): move it there, or set MILLM_MODEL_DIRS"
        )
    if not is_there:
        raise BadSource(f"source: {source} is not a folder on this machine")
    if not anywhere:
        _refuse_links_out(folder, allowed, source)
    return folder


def _refuse_links_out(folder: Path, allowed: list[Path], source: str) -> None:
    for path in folder.rglob("*"):
        if path.is_symlink() and not any(path.resolve().is_relative_to(root) for root in allowed):
            raise BadSource(f"source: {path.relative_to(folder)} in {source} is a link out of the model folders")
