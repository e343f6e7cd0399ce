"""The storing of one response: as one in progress while it streams, and its end, however it ends."""

import asyncio

from inference.broker.exchange import current_call
from inference.broker.inbox import inbox
from inference.openai.endpoint import as_openai_error, in_database
from inference.responses.answer import ResponseAnswer
from inference.responses.models import StoredResponse


class Keeping:
    """Stores the response `row` as `answer` has it, where its request `stores`."""

    def __init__(self, row: StoredResponse, answer: ResponseAnswer, *, stores: bool) -> None:
        self._row, self._answer = row, answer
        self._is_over = not stores

    async def begin(self) -> None:
        """Store it as one in progress, which is cancelled where its client vanishes."""
        if not self._is_over:
            await in_database(self._row.begin, self._answer.as_json(), inbox().key)
            current_call.get().at_end.append(self._leave)

    async def end(self) -> None:
        """Store its end, once, also where the request is cancelled meanwhile: its client has gone."""
        if not self._is_over:
            self._is_over = True
            await asyncio.shield(in_database(self._row.end, self._answer.status, self._answer.as_json()))

    async def fail(self) -> None:
        """Store its end after a failure, which may be an outage that also stops this."""
        try:
            await self.end()
        except Exception as error:
            as_openai_error(error)  # logs it

    async def _leave(self) -> None:
        """Store the end of a stream that nobody read to its end."""
        if not self._is_over:
            self._answer.cancel()
            await self.fail()
