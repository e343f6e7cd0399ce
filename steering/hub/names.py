"""Names in a hub (repositories, revisions, paths), and the choice of a repository's files."""

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from steering.hub.errors import BrokenDownload, RepositoryNotFound, RevisionNotFound

CONFIG_FILES = ("*.json", "*.txt", "*.model", "tokenizer*", "*.jinja")
MODEL_FILES = ("*.safetensors", *CONFIG_FILES)
# A pickle can run code: it is downloaded only if it is asked for by its full name (dictionary_learning's ae.pt,
# read with weights_only=True). Code is never fetched.
PICKLES = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".h5", ".msgpack"})
CODE = frozenset({".py", ".pyc", ".pyd", ".so", ".dll", ".dylib", ".sh", ".exe"})
REVISION = re.compile(r"(?!.*(\.\.|//))[\w][\w./+-]{0,249}", re.ASCII)  # a revision becomes a file name


def looks_like_hub_id(source: str) -> bool:
    """True if `source` is written like `owner/name` (or an old `name`), not like a path."""
    try:
        validate_repo_id(source)
    except HFValidationError:
        return False
    return True


def matching(paths: Iterable[str], patterns: Iterable[str]) -> list[str]:
    """The paths that a pattern matches, without code, and without pickles that no pattern gives by their full name.

    A pattern without a slash matches files at the top only (a model's files; copies of the model in other formats lie
    in folders). A pattern with a slash is compared with the whole path, and its `*` crosses slashes.
    """
    patterns = tuple(patterns)
    return [path for path in paths if _is_wanted(path, patterns)]


def _is_wanted(path: str, patterns: Sequence[str]) -> bool:
    suffix = PurePosixPath(path).suffix.lower()
    if suffix in CODE:
        return False
    if path in patterns:
        return True
    globs = (pattern for pattern in patterns if ("/" in pattern) or ("/" not in path))
    return suffix not in PICKLES and any(fnmatchcase(path, pattern) for pattern in globs)


def check_names(repo_id: str, revision: str) -> None:
    """Refuse names that no hub can have. Raises RepositoryNotFound or RevisionNotFound."""
    if not looks_like_hub_id(repo_id):
        expected = "expected owner/name, or a folder that begins with /, ./ or ~"
        raise RepositoryNotFound(f"{repo_id!r} is not a hub id: {expected}")
    if not REVISION.fullmatch(revision):
        raise RevisionNotFound(f"{revision!r} is not a revision of {repo_id}: expected a branch, a tag or a commit")


def check_path(repo_id: str, path: str) -> None:
    """Raise BrokenDownload for a path outside the repository's folder: such a hub is broken or hostile."""
    parts = path.split("/")
    if not path.isprintable() or "\\" in path or ":" in parts[0] or any(part in ("", ".", "..") for part in parts):
        raise BrokenDownload(f"{repo_id} lists the file {path!r}: expected a path inside the repository")
