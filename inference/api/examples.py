"""Examples of the REST API: the demo model, its SAE, and readings of a sentence by them."""

from typing import Any

MADE, CHANGED = "2026-11-28T21:40:00Z", "2026-11-28T21:41:07Z"
_state = {"status": "ready", "progress": None, "error": "", "created_at": MADE, "updated_at": CHANGED}
MODEL: dict[str, Any] = {
    "id": 1,
    "name": "demo",
    "source": "/srv/millm/inference/demo/tiny/files/model",
    "revision": "",
    "dtype": "auto",
    "device": "auto",
    "answer_form": "",
    "model_type": "llama",
    "is_current": True,
    "d_model": 160,
    "num_layers": 4,
    "context_length": 512,
    "request_tokens": 512,
    "sampling_defaults": {},
    **_state,
    "still_served": [],
}
SAE: dict[str, Any] = {
    "id": "demo-sae",
    "source": "/srv/millm/inference/demo/tiny/files/sae",
    "revision": "",
    "path": "",
    "format": "saelens",
    "architecture": "topk",
    "d_in": 160,
    "d_sae": 512,
    "layer": 1,
    "hook_name": "blocks.1.hook_resid_post",
    "model_name": "demo",
    "fingerprint": "3f0c6a5d9e1b7c24" * 4,
    "is_attached": True,
    "is_also_attached": False,
    "layers": [1],
    **_state,
}
SETUP: dict[str, Any] = {
    "id": 3,
    "model": "demo",
    "dtype": "auto",
    "device": "auto",
    "saes": [{"id": "demo-sae", "also": False}],
    "profile": {"id": "prof_0f4a", "name": "ocean"},
    "steering": None,
    "why": "model gemma-2-2b was loaded",
    "by": "admin, in the admin",
    "left_at": CHANGED,
    "missing": [],
}
RESTORED = {"model": {**MODEL, "status": "queued"}, "missing": []}
VECTOR_SET = {
    **SAE,
    "id": "sea",
    "source": "/srv/millm/.millm/vectors/sea",
    "format": "vectors",
    "architecture": "vectors",
    "d_sae": 1,
    "is_attached": False,
}
MADE_SET = {"sae": VECTOR_SET, "made": {"norm": 4.25, "residual_norm": 17.5, "auc": 0.98, "tokens": 61}}
FOUND = {
    "path": "layer_20/width_16k/average_l0_71",
    "format": "gemma_scope",
    "layer": 20,
    "hook_point": "resid_post",
    "width": 16384,
    "sparsity": 71.0,
    "size": 302_000_000,
}
NEW_MODEL = {"source": "google/gemma-2-2b", "dtype": "bfloat16"}
NEW_SAE = {"source": "google/gemma-scope-2b-pt-res", "path": FOUND["path"]}
MEASUREMENT: dict[str, Any] = {
    "sae": "demo-sae",
    "model": "demo",
    "status": "measuring",
    "waits": False,
    "progress": 0.25,
    "error": "",
    "texts": 4000,
    "tokens": 61_440,
    "asked_by": "admin",
    "created_at": MADE,
}
_read = {"model": "demo", "sae": "demo-sae", "hook_name": "blocks.1.hook_resid_post"}
_token = {
    "position": 1,
    "id": 412,
    "text": "whale",
    "special": False,
    "features": [{"index": 79, "activation": 11.5, "label": "whales, dolphins, waves"}],
}
ACTIVATIONS = {
    **_read,
    "steering": "none",
    "stage": None,
    "texts": [
        {
            "tokens": [_token],
            "features": [
                {"index": 79, "label": "whales, dolphins, waves", "maximum": 11.5, "position": 1, "sum": 11.5}
            ],
        }
    ],
}
SENTENCES = {
    "positive": ["The whale dives in the sea.", "A salty wave splashes near the reef."],
    "negative": ["The chef stirs the soup.", "A rocket launches above the moon."],
}
_contrasted = {
    "index": 79,
    "label": "whales, dolphins, waves",
    "difference": 2.1,
    "auc": 1.0,
    "positive_share": 1.0,
    "negative_share": 0.0,
    "density": 0.2,
    "maximum": 14.5,
}
CONTRAST = {
    **_read,
    "pool": "mean",
    "positive": 2,
    "negative": 2,
    "residual_auc": 1.0,
    "features": [_contrasted],
    "opposed": [],
}
_example = {"tokens": ["The", " whale", " dives"], "values": [0.0, 14.5, 3.0], "maximum": 14.5, "source": "measured"}
FEATURE: dict[str, Any] = {
    "index": 79,
    "labels": [{"label": "whales, dolphins, waves", "source": "tokens"}],
    "maximum": 14.5,
    "density": 0.021,
    "mean": 7.9,
    "histogram": {"edges": [0.0, 7.25, 14.5], "counts": [310, 290]},
    "statistics_source": "measured",
    "promoted": [[" whale", 1.5], [" sea", 1.25]],
    "suppressed": [[" soup", -0.75]],
    "nearest": [{"index": 286, "cosine": 0.41, "label": "drifts, dives, splashes"}],
    "examples": [
        {"tokens": ["The", " whale", " dives"], "values": [0.0, 14.5, 3.0], "maximum": 14.5, "source": "measured"}
    ],
    "unavailable": "",
}
NEW_SWEEP = {
    "profile": "ocean",
    "values": {"from": 0, "to": 2, "count": 9},
    "prompts": ["Tell me something."],
    "seeds": [1, 2],
    "words": ["The"],
    "temperature": 0.7,
}
NEW_SWEEP_OF_FEATURE = {
    "feature": 79,
    "sae": "demo-sae",
    "values": [-4, 0, 4, 8],
    "prompts": ["The sailor looks at"],
    "chat": False,
    "words": [" the"],
}
SWEEP: dict[str, Any] = {
    "id": 7,
    "profile": "ocean",
    "feature": None,
    "sae": "",
    "model": "demo",
    "values": [0.0, 1.0],
    "status": "running",
    "waits": False,
    "progress": 0.5,
    "error": "",
    "total": 2,
    "ended": 1,
    "asked_by": "admin",
    "created_at": MADE,
}
_cell = {
    "value": 0.0,
    "steering": "none",
    "prompt_number": 1,
    "prompt": "Tell me something.",
    "seed": 1,
    "answer": "The chef stirs the soup.",
    "tokens": 7,
    "finish_reason": "stop",
    "perplexity": 3.1,
    "repeated_4grams": 0.0,
    "logprobs": {"The": -1.25},
    "error": "",
}
_effects = {"value": 0.0, "cells": 1, "failed": 0, "perplexity": 3.1, "repeats": 0.0, "words": [-1.25]}
SWEEP_IN_FULL: dict[str, Any] = {
    **SWEEP,
    "model_version": f"demo|{MODEL['source']}||auto",
    "document": {"features": {"79": 8.0}},
    "prompts": ["Tell me something."],
    "chat": True,
    "seeds": [1],
    "words": ["The"],
    "max_tokens": 64,
    "sampling": {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0},
    "effects": [
        {**_effects, "is_broken": None},
        {
            "value": 1.0,
            "cells": 0,
            "failed": 0,
            "perplexity": None,
            "repeats": None,
            "words": [None],
            "is_broken": None,
        },
    ],
    "cells": [_cell],
}
