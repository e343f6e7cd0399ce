"""Weights of another shape than the configuration says: the error names them."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from inference.loading import load
from inference.tests.tiny import tiny_model, tiny_tokenizer


def test_a_wrong_vocab_size_is_told_with_the_weights_and_both_shapes(tmp_path: Path) -> None:
    tiny_model().save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"vocab_size": 330}))
    row = cast(Any, SimpleNamespace(path=tmp_path, device="cpu", dtype="float32"))
    with pytest.raises(ValueError, match="another shape than the configuration says") as refused:
        load(row)
    told = "lm_head.weight has the shape [320, 32] in the files, [330, 32] by config.json"
    assert str(refused.value) == f"2 weights have another shape than the configuration says: {told}"
