"""The priority of users' requests over background requests in one batch.

The batch itself knows no priorities. So background requests are submitted one by one while places are free, and
cancelled where a user's request waits for a place or for blocks of the KV cache.
"""

from collections.abc import Mapping

from transformers.generation.continuous_batching.continuous_api import ContinuousBatchingManager

from inference.engine.answer import Answer


def free_places(manager: ContinuousBatchingManager, answers: Mapping[str, Answer], places: int) -> int:
    """The places of the batch of `places` that a background request may take; 0 while a user's request waits."""
    if any(not answer.request.background for answer in _waiting(manager, answers)):
        return 0
    return max(0, places - len(answers))


def users_wait(manager: ContinuousBatchingManager, answers: Mapping[str, Answer]) -> bool:
    """Return True if a step began without a user's request that had been submitted: something holds it up."""
    processor = manager.batch_processor
    if processor is None:
        return False
    began_at = processor.clock.last_began_at
    return any(
        answer.submitted_at < began_at and not answer.request.background for answer in _waiting(manager, answers)
    )


def _waiting(manager: ContinuousBatchingManager, answers: Mapping[str, Answer]) -> list[Answer]:
    """The requests that the scheduler has and no step had; the batch's thread changes the scheduler meanwhile."""
    processor = manager.batch_processor
    waiting = [*processor.scheduler.waiting_requests] if processor else []
    return [answer for request_id in waiting if (answer := answers.get(request_id))]
