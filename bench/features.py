"""A million features beside another SAE's million: import of Neuronpedia's files, pages of REST and admin; medians."""

import gzip
import json
import random
import resource
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from bench.setup import median_ms, report, start_django

FEATURES, EXAMPLES, TOKENS = 1_000_000, 200_000, 128
EXAMPLES_OF_A_FEATURE = 20
LIMIT_MS = 50
ORIGIN = {"modelId": "m", "layer": "0-res", "createdAt": "2025-01-01T00:00:00.000Z", "hasVector": False, "vector": []}
REST = {
    "REST, by index": "",
    "REST, by index, page 1000": "?page=1000",
    "REST, largest maximum first": "?order=-maximum",
    "REST, largest maximum first, page 1000": "?order=-maximum&page=1000",
    "REST, largest density first": "?order=-density",
    "REST, 1000 a page": "?page_size=1000",
}
ADMIN = {
    "admin, of an SAE": "?sae__id__exact=one",
    "admin, of an SAE, page 1000": "?sae__id__exact=one&p=1000",
    "admin, of an SAE, largest maximum first": "?sae__id__exact=one&o=2",
    "admin, of an SAE, largest density first": "?sae__id__exact=one&o=3",
    "admin, of all SAEs": "",
}


def features(count: int, seed: int) -> Iterator[dict[str, Any]]:
    """Rows of Neuronpedia's features/. One in ten has a histogram, tokens and nearest features."""
    choose = random.Random(seed)
    bars = [round(0.5 + step, 2) for step in range(50)]
    for index in range(count):
        row = {**ORIGIN, "index": str(index), "maxActApprox": choose.lognormvariate(2, 1)}
        row["frac_nonzero"] = min(1.0, choose.lognormvariate(-7, 2))
        if index % 10 == 0:
            logits = sorted((choose.uniform(0, 2) for _ in range(10)), reverse=True)
            near = [choose.randrange(count) for _ in range(10)]
            row |= {"freq_hist_data_bar_values": bars, "freq_hist_data_bar_heights": list(range(50, 0, -1))}
            row |= {"pos_str": [" token"] * 10, "pos_values": logits, "neg_str": [" token"] * 10, "neg_values": logits}
            row |= {"topkCosSimIndices": near, "topkCosSimValues": logits}
        yield row


def activations(count: int) -> Iterator[dict[str, Any]]:
    """Rows of Neuronpedia's activations/."""
    choose = random.Random(0)
    for number in range(count):
        values = [0.0] * TOKENS
        values[choose.randrange(TOKENS)] = round(choose.lognormvariate(2, 1), 3)
        tokens = [f" {choose.randrange(1000)}" for _ in range(TOKENS)]
        yield {**ORIGIN, "index": str(number // EXAMPLES_OF_A_FEATURE), "tokens": tokens, "values": values}


def import_rows(sae: str, rows: Iterator[dict[str, Any]]) -> tuple[int, float]:
    """Rows a second, and the growth of this process's memory in MB. The file is written first."""
    from steering.features.files import FeatureFile
    from steering.features.models import Feature

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "batch.jsonl.gz"
        with gzip.open(path, "wt", compresslevel=1) as file:
            for row in rows:
                file.write(json.dumps(row) + "\n")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with path.open("rb") as opened:
            began = time.perf_counter()
            imported = Feature.objects.import_files(sae, [FeatureFile(opened)])
            spent = time.perf_counter() - began
    return round(imported.rows / spent), round((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, 1)


def clients() -> tuple[Any, Any]:
    """REST and admin, as a superuser."""
    from django.contrib.auth import get_user_model
    from django.test import Client
    from rest_framework.test import APIClient

    root = get_user_model().objects.create_superuser("root")
    rest, admin = APIClient(SERVER_NAME="localhost"), Client(SERVER_NAME="localhost")
    rest.force_authenticate(root)
    admin.force_login(root)
    return rest, admin


def main() -> None:
    start_django()
    from steering.models import SAE

    for sae in ("other", "one"):
        SAE.objects.create(id=sae, source="/s", d_in=16, d_sae=FEATURES, hook_name="blocks.0.hook_resid_post")
    figures: dict[str, Any] = {"rows of each SAE": FEATURES}
    import_rows("other", features(FEATURES, 1))
    figures["import: rows a second"], figures["import: growth of memory (MB)"] = import_rows(
        "one", features(FEATURES, 2)
    )
    figures[f"import of examples of {TOKENS} tokens: rows a second"], _ = import_rows("one", activations(EXAMPLES))
    rest, admin = clients()

    def ask(client: Any, url: str) -> None:
        answer = client.get(url)
        assert answer.status_code == 200, (url, answer.content)

    pages = {name: partial(ask, rest, f"/api/saes/one/features{query}") for name, query in REST.items()}
    pages |= {name: partial(ask, admin, f"/admin/steering/feature/{query}") for name, query in ADMIN.items()}
    times = {name: median_ms(page, 20) for name, page in pages.items()}
    slow = [name for name, taken in times.items() if taken >= LIMIT_MS]
    report("features", str(__doc__), {**figures, **times, f"slower than {LIMIT_MS} ms": ", ".join(slow) or "none"})


if __name__ == "__main__":
    main()
