"""WhiteNoise without a thread for every request."""

from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.http import HttpRequest, HttpResponseBase
from whitenoise.middleware import WhiteNoiseMiddleware


class StaticFilesMiddleware(WhiteNoiseMiddleware):
    """WhiteNoise as an asynchronous middleware.

    Django runs a synchronous middleware under ASGI in a thread, which is held until the answer is complete. A client
    that disconnects meanwhile is then not always noticed.
    """

    async_capable = True
    sync_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        super().__init__(get_response)
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        return self._asynchronous(request) if self._is_async else super().__call__(request)

    async def _asynchronous(self, request: HttpRequest) -> HttpResponseBase:
        found = None
        if request.path_info.startswith(self.static_prefix):
            find = self.find_file if self.autorefresh else self.files.get
            found = await sync_to_async(find)(request.path_info)
        response: HttpResponseBase = await self.get_response(request) if found is None else self.serve(found, request)
        return response
