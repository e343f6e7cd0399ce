"""Examples of the REST API: labels and statistics of a feature of the demo's SAE."""

LABEL = {"index": 79, "label": "whales, dolphins, waves", "source": "tokens"}
IMPORTED_LABELS = {"rows": 16_384, "skipped": 12, "labels": 16_372, "sources": ["gpt-4o-mini"]}
LABEL_VERSION = {
    "label": "whales and the sea",
    "type": "Created",
    "date": "2026-11-28T21:43:09Z",
    "by": "admin",
    "door": "admin",
}
FEATURE = {"index": 79, "label": "whales, dolphins, waves", "maximum": 14.5, "density": 0.021, "mean": 7.9}
IMPORTED_FEATURES = {"rows": 5120, "skipped": 3, "features": 512, "examples": 5117}
