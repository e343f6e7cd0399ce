"""Feature labels at a million of 16 SAEs and at two million: search through REST, import of JSON lines; medians."""

import gzip
import json
import random
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

from bench.setup import median_ms, report, start_django

SAES, FEATURES = 16, 65_536
BIG = 1_000_000
SYLLABLES = ("ba", "ce", "di", "fo", "gu", "la", "me", "ni", "ro", "su", "ta", "ve", "zo", "ki", "pu", "shan")
SEARCHES = {
    "rare word": "search={rare}",
    "middling word": "search={middling}",
    "a word of every third label": "search={common}",
    "rare and common word": "search={rare}+{common}",
    "two middling words": "search={middling}+{other}",
    "unfinished word": "search={prefix}",
    "one letter": "search=s",
    "stop word": "search=the",
    "no hit": "search=xylophonist",
    "page 10 of 50": "search={common}&page=10",
    "of a source": "search={middling}&source=bench",
    "no search": "",
    "no search, page 200": "page=200",
    "one feature": "index=4711",
}


def vocabulary() -> tuple[list[str], list[float]]:
    """30,000 words, and the sums of their frequencies, which fall as in English (Zipf)."""
    choose = random.Random(0)
    words = sorted({"".join(choose.choices(SYLLABLES, k=choose.randint(2, 4))) for _ in range(120_000)})
    choose.shuffle(words)
    words = ["the", "of", "and", "references", "to", "related", *words][:30_000]
    return words, list(accumulate(1 / (rank + 3) for rank in range(len(words))))


def labels(count: int, seed: int) -> Iterator[str]:
    words, weights = vocabulary()
    choose = random.Random(seed)
    for _ in range(count):
        yield " ".join(choose.choices(words, cum_weights=weights, k=choose.randint(3, 14)))


def export(folder: Path, sae: str, count: int, seed: int) -> Path:
    """A file such as Neuronpedia's."""
    path = folder / f"{sae}.jsonl.gz"
    made_by = {"modelId": "m", "layer": sae, "typeName": "oai_token-act-pair", "explanationModelName": "gpt-4o-mini"}
    with gzip.open(path, "wt", compresslevel=1) as file:
        for index, label in enumerate(labels(count, seed)):
            file.write(json.dumps({**made_by, "index": str(index), "description": label}) + "\n")
    return path


def import_all(folder: Path, sizes: dict[str, int]) -> float:
    """Rows a second."""
    from steering.labels.files import LabelFile
    from steering.labels.models import FeatureLabel
    from steering.models import SAE

    spent = 0.0
    for seed, (sae, count) in enumerate(sizes.items()):
        SAE.objects.create(id=sae, source="/s", d_in=16, d_sae=count, layer=0, hook_name="blocks.0.hook_resid_post")
        with export(folder, sae, count, seed).open("rb") as file:
            began = time.perf_counter()
            FeatureLabel.objects.import_files(sae, [LabelFile(file, source="bench")])
            spent += time.perf_counter() - began
    return round(sum(sizes.values()) / spent)


def chosen_words() -> dict[str, str]:
    words, _ = vocabulary()
    ranks = {"common": 5, "middling": 400, "other": 300, "rare": 29_000}
    return {name: words[rank] for name, rank in ranks.items()} | {"prefix": words[700][:5]}


def main() -> None:
    start_django()
    from django.contrib.auth import get_user_model
    from rest_framework.test import APIClient

    client: Any = APIClient(SERVER_NAME="localhost")
    client.force_authenticate(get_user_model().objects.create_superuser("root"))
    hits: dict[str, int] = {}

    def ask(sae: str, query: str) -> None:
        answer = client.get(f"/api/saes/{sae}/labels?{query}")
        assert answer.status_code == 200, (query, answer.content)
        hits[query] = answer.json()["count"]

    figures: dict[str, Any] = {"rows": SAES * FEATURES}
    words = chosen_words()
    with tempfile.TemporaryDirectory() as folder:
        figures["import_rows_per_s"] = import_all(Path(folder), {f"s{i}": FEATURES for i in range(SAES)})
        for sae, name in (("s7", "one of 16 SAEs"), ("big", f"an SAE with {BIG:,} labels, beside the 16")):
            if sae == "big":
                figures["import_of_a_million_rows_per_s"] = import_all(Path(folder), {sae: BIG})
            queries = {search: query.format(**words) for search, query in SEARCHES.items()}
            times = {search: median_ms(partial(ask, sae, query), 15) for search, query in queries.items()}
            figures[name] = {search: {"hits": hits[queries[search]], "ms": ms} for search, ms in times.items()}
    report("labels", str(__doc__), figures)


if __name__ == "__main__":
    main()
