"""The files of a demo's profiles, in the form that miLLM exports."""

import json
from collections.abc import Mapping
from pathlib import Path


def write_profile(
    folder: Path, name: str, description: str, layer: int, strengths: Mapping[int, float], positions: str = "all"
) -> None:
    """Write `name`.json with the strengths of features of the demo's SAE, and the tokens that they steer."""
    folder.mkdir(parents=True, exist_ok=True)
    profile = {
        "name": name,
        "description": description,
        "model": "demo",
        "sae": "demo-sae",
        "layer": layer,
        "steering": {str(index): strength for index, strength in sorted(strengths.items())},
    }
    if positions != "all":
        profile["positions"] = positions
    head = {"version": "1.0", "type": "millm_profile", "profile": profile}
    tail = {"exported_at": "2026-01-01T00:00:00+00:00", "exported_from": "miLLM v0.1.0"}
    (folder / f"{name}.json").write_text(json.dumps(head | tail, indent=2) + "\n")
