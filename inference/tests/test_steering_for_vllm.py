"""What a request carries to vLLM's processes, and what these do with it; without vLLM, as in any environment."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from inference.engine.steering.program import Program
from inference.interface import EngineUnsupported
from inference.tests.engines import GivenDirections
from inference.vllm.steering.payload import Payload, salt_of
from inference.vllm.steering.programs import FIRST_ROWS, Programs
from steering.spec import Change, Condition, Positions, SteeringPart, SteeringSpec

WIDTH, PLACE = 4, (1, "hook_resid_post")
PART = SteeringPart("s", "f", 1, "blocks.1.hook_resid_post", (Change(3, 2.0),))
ONES = GivenDirections(lambda part: torch.ones(WIDTH))
SPECIAL = {0, 1}


def spec(*parts: SteeringPart) -> SteeringSpec:
    made = SteeringSpec.of(parts)
    assert made is not None
    return made


@pytest.fixture
def programs() -> Programs:
    return Programs(WIDTH, SPECIAL, {"dtype": torch.float32, "device": torch.device("cpu")})


def payload(value: float = 2.0, prompt_tokens: int = 5, **own: Any) -> Payload:
    part = replace(PART, changes=(Change(3, value),), **own)
    return Payload.from_bytes(Payload.of(spec(part), prompt_tokens, SPECIAL, ONES).to_bytes())


def added(programs: Programs, requests: dict[str, list[int]], start: int = 0) -> list[list[float]]:
    """What one pass adds to a stream of zeros at each token of each request; `start` is its first token's position."""
    ids = [token for own in requests.values() for token in own]
    hidden = torch.zeros(len(ids) + 2, WIDTH)  # padded
    starts = np.cumsum([0, *map(len, requests.values())]).astype(np.int32)
    programs.begin([*requests], starts, np.full(len(requests), start, np.int32), torch.tensor([*ids, 0, 0]))
    programs.change(PLACE, hidden, torch.zeros_like(hidden))
    assert not hidden[len(ids) :].any()
    return [hidden[a:b, 0].tolist() for a, b in pairwise(starts)]


def test_each_request_of_a_batch_is_steered_by_its_own(programs: Programs) -> None:
    programs.add("a", payload(2.0))
    programs.add("b", payload(5.0))
    assert added(programs, {"a": [7, 8], "plain": [7], "b": [9]}) == [[2, 2], [0], [5]]
    programs.remove("a")
    assert added(programs, {"a": [7], "b": [9]}) == [[0], [5]]


def test_equal_steerings_share_a_row_until_the_last_of_them_has_ended(programs: Programs) -> None:
    for name in "ab":
        programs.add(name, payload())
    programs.remove("a")
    assert added(programs, {"a": [7], "b": [7]}) == [[0], [2]]


def test_a_request_id_that_comes_again_is_another_request(programs: Programs) -> None:
    programs.add("a", payload(2.0))
    programs.add("a", payload(3.0))
    assert added(programs, {"a": [7]}) == [[3]]


def test_more_steerings_than_rows_are_no_error(programs: Programs) -> None:
    count = 3 * FIRST_ROWS
    for number in range(count):
        programs.add(str(number), payload(1.0 + number))
    assert added(programs, {str(number): [7] for number in range(count)}) == [[1.0 + n] for n in range(count)]


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({"positions": Positions("prompt")}, [2, 2, 2, 2, 2, 0, 0]),
        ({"positions": Positions("answer")}, [0, 0, 0, 0, 0, 2, 2]),
        ({"positions": Positions("prompt", last=2)}, [0, 0, 0, 2, 2, 0, 0]),
        ({"positions": Positions("answer", first=1)}, [0, 0, 0, 0, 0, 2, 0]),
        ({"special_tokens": False}, [0, 2, 2, 0, 2, 2, 2]),
    ],
)
@pytest.mark.parametrize("cut", [0, 1, 3, 5, 6])
def test_the_tokens_that_are_steered_are_those_of_the_spec_however_a_prompt_is_cut(
    programs: Programs, own: dict[str, Any], expected: list[float], cut: int
) -> None:
    text = [0, 7, 8, 1, 9, 10, 11]  # five of them are the prompt
    programs.add("a", payload(**own))
    parts = [added(programs, {"a": ids}, start)[0] for ids, start in ((text[:cut], 0), (text[cut:], cut)) if ids]
    assert [value for part in parts for value in part] == expected


def test_more_rows_are_made_beside_a_request_with_columns(programs: Programs) -> None:
    project = replace(PART, changes=(Change(3, 1.0, "project"),))
    programs.add("p", Payload.of(spec(project), 5, SPECIAL, ONES))
    assert added(programs, {"p": [7]}) == [[0]]  # a stream of zeros has nothing along a direction
    for number in range(FIRST_ROWS):
        programs.add(str(number), payload(1.0 + number))
    last = str(FIRST_ROWS - 1)
    assert added(programs, {"p": [7], last: [7]}) == [[0], [float(FIRST_ROWS)]]


def test_a_request_that_cannot_be_taken_up_is_lost_also_where_nothing_else_is_steered(programs: Programs) -> None:
    programs.lose("a")
    added(programs, {"a": [7], "b": [7]})
    assert programs.step
    assert programs.step.lost_ids() == ["a"]


def test_a_number_that_is_not_finite_stays_out_of_the_cache_and_its_request_is_lost(programs: Programs) -> None:
    programs.add("a", payload())
    programs.add("b", payload())
    for step in range(2):
        added(programs, {"a": [7, 8], "b": [9]}, start=2 * step)
        hidden, residual = torch.zeros(3, WIDTH), torch.zeros(3, WIDTH)
        if step == 0:
            residual[0, 2] = torch.inf
        programs.guard(hidden, residual, is_end=False)
        assert hidden.isfinite().all()
        assert residual.isfinite().all()
        programs.guard(hidden, residual, is_end=True)
        assert hidden.isnan().all(dim=1).tolist() == [True, True, False]  # also its other tokens, and later ones
    programs.remove("a")
    programs.add("a", payload())
    added(programs, {"a": [7]})
    programs.guard(hidden := torch.zeros(1, WIDTH), None, is_end=True)
    assert hidden.isfinite().all()


def test_what_a_lost_request_left_in_the_cache_is_not_read_as_if_it_were_sound(programs: Programs) -> None:
    programs.add("a", payload())
    added(programs, {"a": [7, 8]})
    programs.guard(torch.full((2, WIDTH), torch.nan), None, is_end=False)
    assert programs.step
    assert programs.step.lost_ids() == ["a"]
    programs.add("b", payload(), cached=1)  # it came before the loss was told
    programs.add("c", payload())
    programs.add("d", payload(3.0), cached=1)
    added(programs, {"b": [9], "c": [9], "d": [9]})
    programs.guard(hidden := torch.zeros(3, WIDTH), None, is_end=True)
    assert hidden.isnan().all(dim=1).tolist() == [True, False, False]
    programs.add("e", payload(4.0))
    programs.add("f", payload(4.0), cached=1)  # in the same step
    added(programs, {"e": [7], "f": [9]})
    programs.guard(torch.tensor([[torch.nan] * WIDTH, [0.0] * WIDTH]), None, is_end=False)
    assert programs.step.lost_ids() == ["e", "f"]
    everywhere = spec(PART)
    assert salt_of(everywhere, 5, losses=1) not in {salt_of(everywhere, 5), salt_of(everywhere, 5, losses=2)}


def test_the_salt_is_one_of_equal_steerings_of_equal_texts() -> None:
    everywhere, other = spec(PART), spec(replace(PART, changes=(Change(3, 2.5),)))
    assert salt_of(everywhere, 5) == salt_of(everywhere, 9) == everywhere.fingerprint
    assert salt_of(other, 5) != salt_of(everywhere, 5)
    for positions in (Positions("prompt"), Positions("answer"), Positions("prompt", last=2)):
        ends = spec(replace(PART, positions=positions))
        # The beginning of a longer prompt is steered in another way.
        assert salt_of(ends, 5) == salt_of(ends, 5) != salt_of(ends, 9)
    first = spec(replace(PART, positions=Positions(first=3)))
    assert salt_of(first, 5) == salt_of(first, 9)


CONDITION = Condition("s", "f", 0, "blocks.0.hook_resid_post", 3, 1.0)


@pytest.mark.parametrize(
    ("own", "named"),
    [({"when": CONDITION}, "`when`"), ({"tools": False}, "`tools`"), ({"thinking": False}, "`thinking`")],
)
def test_what_it_cannot_do_is_refused_by_name(own: dict[str, Any], named: str) -> None:
    with pytest.raises(EngineUnsupported, match=named) as refused:
        payload(**own)
    assert (refused.value.code, refused.value.param) == ("engine_unsupported", "steering")


def test_a_program_of_no_vector_changes_nothing(programs: Programs) -> None:
    programs.add("a", Payload([(0, "k", "k")], {"k": Program()}))
    assert added(programs, {"a": [7]}) == [[0]]
