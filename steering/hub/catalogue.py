"""The catalogue of SAEs and vector sets in a repository or a folder, made from paths.

No file is downloaded. In a folder on disk the configuration of an SAE has what its path does not name.

Known layouts: SAELens' list of pretrained SAEs (https://github.com/decoderesearch/SAELens, pretrained_saes.yaml),
Gemma Scope (https://huggingface.co/google/gemma-scope), Llama Scope (https://huggingface.co/fnlp/Llama-Scope),
sparsify (https://github.com/EleutherAI/sparsify) and dictionary_learning
(https://github.com/saprmarks/dictionary_learning). A property that no path names is None.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from steering.architectures import RESID_POST
from steering.errors import Refused
from steering.formats import LAYOUTS, read_config
from steering.formats.control_vector import FORMAT, SUFFIX
from steering.hub import client

LARGEST_CONTROL_VECTOR = 2**25
"""Bytes. A larger GGUF file is a model: 125 layers of 16,384 values have 2**23."""
MAX_DEPTH = 8
MAX_FILES = 20_000
MOST_READ = 200
"""SAEs of a folder whose files are read for what their paths do not name."""

# Patterns that find layer and hook point in a path, or else in the repository's name; the first match counts.
# `hook` is a name of TransformerLens without its block, or a key of HOOK_NAMES.
LAYER_PATTERNS = tuple(
    re.compile(pattern)
    for pattern in (
        r"blocks\.(?P<layer>\d+)\.(?P<hook>(?:attn\.|mlp\.)?hook_(?:resid_(?:pre|mid|post)|[a-z]+_out|[a-z]+))",
        r"(?P<hook>resid_post|resid_pre|resid_mid|resid_out|mlp_out|attn_out|attention_out)_layer_?(?P<layer>\d+)",
        r"(?:^|/)(?P<hook>resid_post|mlp_out|attn_out)(?:_all)?/layer_(?P<layer>\d+)(?!\d)",
        r"(?:^|[-/])L(?P<layer>\d+)(?P<hook>[RMA])(?=-\d+x|/|$)",
        r"(?:^|[./_])(?:layers|h)\.(?P<layer>\d+)(?:\.(?P<hook>mlp|self_attn|attn|attention))?(?=/|$)",
        r"(?:^|/)(?P<layer>\d+)-(?P<hook>res|mlp|att)[-_]",
        r"(?:^|[/_-])layer[_-]?(?P<layer>\d+)(?!\d)",
    )
)
HOOK_ALONE = re.compile(r"(?P<hook>hook_(?:resid_(?:pre|mid|post)|mlp_out|attn_out))")
REPOSITORY_HOOK = re.compile(r"-(?P<hook>resid-pre|resid-mid|resid-post|res|mlp-out|mlp|attn-out|att)(?=-|$)")
HOOK_NAMES = {
    "R": "hook_resid_post",
    "resid_out": "hook_resid_post",
    "attention_out": "hook_attn_out",
    "mlp": "hook_mlp_out",
    "M": "hook_mlp_out",
    "att": "hook_attn_out",
    "A": "hook_attn_out",
    "attn": "hook_attn_out",
    "self_attn": "hook_attn_out",
    "attention": "hook_attn_out",
}
WIDTH_PATTERNS = tuple(
    re.compile(pattern)
    for pattern in (
        r"(?<![a-z])(?:width|w)[_-](?P<short>\d+[km])(?![a-z0-9])",
        r"width-2pow(?P<power>\d+)",
        r"hook_[a-z_]+?_(?P<exact>\d{3,})(?!\d)",
        r"_layer_?\d+/\d+_(?P<exact>\d{3,})(?=/|$)",
        r"(?:^|[/_-])(?P<short>\d+k)_layer",
    )
)
# 16k means 2^14. Google divides by 1000 (16k, 65k, 131k, 262k, 524k), others by 1024 (64k, 128k).
SHORT_WIDTHS = {
    f"{2**power // unit}{letter}": 2**power for power in range(12, 21) for unit, letter in ((1000, "k"), (1024, "k"))
}
SHORT_WIDTHS |= {"1m": 2**20, "2m": 2**21, "4m": 2**22}
SPARSITY = re.compile(r"(?:average_)?l0[_-](?P<l0>\d+)(?!\d)")
EXPANSION = re.compile(r"(?:^|[-/])Llama3_1-8B-Base-LX?\d*[RMA]-(?P<times>\d+)x(?=/|$)")
LLAMA_3_1_8B_WIDTH = 4096  # d_model
# SAEs of the embedding belong to no block, and transcoders write elsewhere than they read: neither can steer.
NO_SAE = re.compile(r"(?:^|[/.])embed|transcoder|crosscoder|(?:^|[/-])clt(?:[/_-]|$)")


@dataclass(frozen=True)
class FoundSAE:
    """An SAE in the folder `path` ("" for the top folder), with the properties that the names give.

    Of a control vector `path` is that of its file: a folder often has several. `hook_point` is TransformerLens' name
    (`hook_resid_post`, `hook_z`), `sparsity` the mean number of active features (L0). `files` are the files to
    download, `size` their bytes.
    """

    path: str
    format: str
    layer: int | None
    hook_point: str | None
    width: int | None
    sparsity: int | None
    files: tuple[str, ...]
    size: int | None = None


class NoSuchFolder(Refused):
    code = "no_such_folder"
    status = 404


class TooManyFiles(Refused):
    code = "too_many_files"


def find_saes(paths: Iterable[str], repo_id: str = "") -> list[FoundSAE]:
    """The SAEs among these paths (with `/`), ordered by layer, width, sparsity and path (numbers in it as numbers)."""
    present = set(paths)
    found: dict[str, FoundSAE] = {}
    for layout in LAYOUTS:
        for path in present:
            folder = path.removesuffix(layout.weights).rstrip("/")
            if path == (f"{folder}/{layout.weights}" if folder else layout.weights):
                files = tuple(f"{folder}/{name}" if folder else name for name in layout.files)
                if present.issuperset(files) and not NO_SAE.search(f"{repo_id}/{folder}"):
                    found.setdefault(folder, _described(folder, layout.format, files, repo_id))
    for path in present:
        if path.endswith(SUFFIX):
            found[path] = FoundSAE(path, FORMAT, None, RESID_POST, 1, None, (path,))
    return sorted(found.values(), key=_order)


def _sized(found: Iterable[FoundSAE], size_of: Callable[[str], int]) -> list[FoundSAE]:
    """`found` with their sizes, without GGUF files that are too large for a control vector."""
    sized = [replace(one, size=sum(size_of(path) for path in one.files)) for one in found]
    return [one for one in sized if one.format != FORMAT or (one.size or 0) <= LARGEST_CONTROL_VECTOR]


def list_repository(repo_id: str, revision: str) -> list[FoundSAE]:
    """The SAEs in a hub repository, by one request. Raises the errors of `client.file_sizes`."""
    sizes = client.file_sizes(repo_id, revision)
    return _sized(find_saes(sizes, repo_id), sizes.__getitem__)


def list_folder(folder: Path) -> list[FoundSAE]:
    """The SAEs in a folder on disk, at most MAX_DEPTH folders down. Links that lead out of the folder are ignored.

    Raises NoSuchFolder, or TooManyFiles beyond MAX_FILES.
    """
    root = folder.resolve()
    if not root.is_dir():
        raise NoSuchFolder(f"{folder} is not a folder: expected the folder of an SAE, or one that holds such folders")
    paths: list[str] = []
    for path in _walk(root):
        paths.append(path.relative_to(root).as_posix())
        if len(paths) > MAX_FILES:
            raise TooManyFiles(f"{folder} holds more than {MAX_FILES:,} files: name the folder of the SAE itself")
    found = _sized(find_saes(paths, root.name), lambda path: (root / path).stat().st_size)
    return sorted((_completed(root, one) if at < MOST_READ else one for at, one in enumerate(found)), key=_order)


def _completed(root: Path, one: FoundSAE) -> FoundSAE:
    """`one` with the layer, hook point and width of its files, where they can be read."""
    if one.format == FORMAT or None not in (one.layer, one.hook_point, one.width):
        return one
    try:
        config = read_config(root / one.path, path=one.path)
    except Refused:
        return one  # registering it gives the reason
    hook_point = config.hook_name.removeprefix(f"blocks.{config.layer}.")
    return replace(one, layer=config.layer, hook_point=hook_point, width=config.d_sae)


def _walk(root: Path) -> Iterator[Path]:
    waiting = [(root, 0)]
    while waiting:
        folder, depth = waiting.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                path = Path(entry.path)
                if entry.is_symlink() and not path.resolve().is_relative_to(root):
                    continue
                # Links to folders are not followed: folders inside the root are found without them, and only once.
                if entry.is_dir(follow_symlinks=False) and depth < MAX_DEPTH:
                    waiting.append((path, depth + 1))
                elif entry.is_file():
                    yield path


def _described(folder: str, format_: str, files: tuple[str, ...], repo_id: str) -> FoundSAE:
    if format_ == "gemma_scope":  # a folder may hold copies of Gemma Scope's repositories
        repo_id = next((part for part in folder.split("/") if part.startswith("gemma-scope-")), repo_id)
    layer, hook_point = _layer_and_hook_point(folder, repo_id)
    if format_ == "sparsify" and layer is not None and hook_point is None:
        hook_point = "hook_resid_post"  # `layers.12` is the output of the block
    if format_ == "gemma_scope" and hook_point is None and "-res" in repo_id:
        hook_point = "hook_resid_post"  # in other repositories `res` can also mean resid_pre
    if format_ == "gemma_scope" and hook_point == "hook_attn_out":
        hook_point = "hook_z"  # Gemma Scope's attention SAEs read the heads, before the output projection
    return FoundSAE(folder, format_, layer, hook_point, _width(folder, repo_id), _sparsity(folder, repo_id), files)


def _layer_and_hook_point(folder: str, repo_id: str) -> tuple[int | None, str | None]:
    for text in (folder, repo_id):
        for pattern in LAYER_PATTERNS:
            if match := pattern.search(text):
                hook = match.groupdict().get("hook") or _hook_alone(folder, repo_id)
                return int(match["layer"]), _hook_point(hook)
    return None, _hook_point(_hook_alone(folder, repo_id))


def _hook_alone(folder: str, repo_id: str) -> str | None:
    match = HOOK_ALONE.search(folder) or REPOSITORY_HOOK.search(repo_id)
    return match["hook"] if match else None


def _hook_point(word: str | None) -> str | None:
    if word is None or word == "res":
        return None
    return HOOK_NAMES.get(word) or f"hook_{word.rpartition('.')[2].removeprefix('hook_').replace('-', '_')}"


def _width(folder: str, repo_id: str) -> int | None:
    for text in (folder, repo_id):
        if match := EXPANSION.search(text):
            return int(match["times"]) * LLAMA_3_1_8B_WIDTH
        for match in filter(None, (pattern.search(text.lower()) for pattern in WIDTH_PATTERNS)):
            named = match.groupdict()
            if named.get("short"):
                return SHORT_WIDTHS.get(named["short"])
            return 2 ** int(named["power"]) if named.get("power") else int(named["exact"])
    return None


def _sparsity(folder: str, repo_id: str) -> int | None:
    match = SPARSITY.search(folder.lower()) or SPARSITY.search(repo_id.lower())
    return int(match["l0"]) if match else None


def _order(sae: FoundSAE) -> tuple[object, ...]:
    numbers = (_last_if_unknown(sae.layer), _last_if_unknown(sae.width), _last_if_unknown(sae.sparsity))
    natural = [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", sae.path)]
    return (*numbers, natural)


def _last_if_unknown(number: int | None) -> float:
    return float("inf") if number is None else number
