"""An engine that is stopped while it answers: the requests end with an error of ours, which says to try again."""

from pathlib import Path

from inference.tests.engines import run_engine
from inference.tests.tiny import tiny_model, tiny_sae, tiny_tokenizer


def test_an_answer_that_a_stop_cuts_off_says_so_in_words_of_ours(tmp_path: Path) -> None:
    with run_engine(tiny_model(), tiny_tokenizer(), tiny_sae(tmp_path / "sae")) as collected:
        request_id = collected.submit([5, 6, 7], max_new_tokens=1900)
        collected.wait(request_id, "delta")
        collected.engine.close()
        last = collected.wait(request_id)[-1]
    assert (last.kind, last.data["code"]) == ("failed", "engine_closed")
    assert last.data["message"] == "The worker was stopped before the answer was complete: try again."
