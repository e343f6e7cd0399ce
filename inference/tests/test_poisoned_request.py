"""A request on which our code fails ends with an error; those beside it, and those after it, are answered."""

from typing import Any

import pytest

from inference.engine.answer import Answer
from inference.engine.detokenizer import AnswerText
from inference.engine.sampling.constraints import Constraint
from inference.tests.engines import run_engine
from inference.tests.tiny import tiny_model, tiny_sae, tiny_tokenizer

POISON = [99, 98, 97]
PROMPT = [5, 17, 200]


def test_a_poisoned_request_fails_alone(tmp_path_factory: pytest.TempPathFactory, monkeypatch: Any) -> None:
    started = Answer.started

    def poisoned(answer: Answer) -> Any:
        if answer.request.prompt_ids == POISON:
            raise ValueError("poison")
        return started(answer)

    monkeypatch.setattr(Answer, "started", poisoned)
    with run_engine(tiny_model(), tiny_tokenizer(), tiny_sae(tmp_path_factory.mktemp("sae"))) as collected:
        [alone] = collected.greedy([(PROMPT, None)], 8)
        beside, poison = collected.submit(PROMPT, max_new_tokens=8), collected.submit(POISON)
        failed = collected.wait(poison)[-1]
        assert (failed.kind, failed.data["code"]) == ("failed", "engine_error")
        assert "poison" not in failed.data["message"]  # what it is, the log says
        assert collected.tokens(beside) == alone
        assert collected.greedy([(PROMPT, None)], 8) == [alone]
        assert collected.engine.is_alive()
        assert collected.engine.statistics().running == 0


def test_a_grammar_that_fails_ends_its_own_answer_only(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: Any
) -> None:
    allowed = Constraint._allowed

    def poisoned(constraint: Constraint, answer_ids: Any) -> Any:
        if len(answer_ids) == 2:
            raise ValueError("poison")
        return allowed(constraint, answer_ids)

    monkeypatch.setattr(Constraint, "_allowed", poisoned)
    with run_engine(tiny_model(), tiny_tokenizer(), tiny_sae(tmp_path_factory.mktemp("sae"))) as collected:
        poison, beside = collected.submit(POISON, schema="{}"), collected.submit(PROMPT, max_new_tokens=8)
        failed = collected.wait(poison)[-1]
        assert (failed.kind, failed.data["code"]) == ("failed", "engine_error")
        assert len(collected.tokens(beside)) == 8
        assert collected.engine.is_alive()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # which is what it provokes
def test_an_engine_whose_events_are_read_no_more_is_not_alive(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: Any
) -> None:
    def broken(text: AnswerText, *args: Any) -> str:
        raise SystemExit

    monkeypatch.setattr(AnswerText, "push", broken)
    with run_engine(tiny_model(), tiny_tokenizer(), tiny_sae(tmp_path_factory.mktemp("sae"))) as collected:
        collected.submit(PROMPT)
        collected.engine._listening.join(timeout=20)
        assert not collected.engine.is_alive()
