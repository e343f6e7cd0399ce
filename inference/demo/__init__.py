"""The demo: the training of its model, SAE, labels and profiles, the trained files, and their rows in the database.

From outside: `FILES`, `register`, `grammar`, `measure`. The rest imports torch, for `train_demo` and `check_demo`.
"""

from pathlib import Path

FILES = Path(__file__).parent / "files"
"""The folder of the trained demo: `model/`, `sae/`, `profiles/`, `labels.csv` and FEATURES."""
FEATURES = "features.jsonl.gz"
"""The file with what is measured of the SAE's features: see `inference.measuring.results`."""
