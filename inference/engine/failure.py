"""What went wrong with an answer, by the output of transformers' continuous batching."""

from transformers.generation.continuous_batching.requests import GenerationOutput, RequestStatus

from inference.engine.answer import Answer
from inference.interface import EngineClosed


def failure_of(answer: Answer, output: GenerationOutput, *, is_closed: bool) -> tuple[str, str] | None:
    """The code and the message of what went wrong by `output`; None where nothing did.

    `is_closed` is true once the engine has been closed, which fails all that is left.
    """
    if output.status == RequestStatus.FAILED and is_closed:
        return EngineClosed.code, "The worker was stopped before the answer was complete: try again."
    if output.status == RequestStatus.FAILED:
        code = "out_of_memory" if "out of memory" in str(output.error) else "engine_error"
        return code, str(output.error)
    if answer.is_lost.is_set():
        return answer.lost
    if answer.constraint and answer.constraint.error:
        return "engine_error", f"no token can follow in this schema: {answer.constraint.error}"
    return None
