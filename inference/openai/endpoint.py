"""The base of every view of /v1: it checks the API key and turns every error into one of OpenAI's."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import connection
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.http.request import UnreadablePostError
from django.views.decorators.csrf import csrf_exempt

from inference.broker.errors import RequestFailed
from inference.broker.shares import HOLDER
from inference.openai.authentication import Authenticate, by_key
from inference.openai.errors import OpenAIError
from inference.outages import outage_of

logger = logging.getLogger(__name__)

TURN_S = 10.0
# Half of the connections: the other half is for the admin and REST, even while hundreds of requests begin at once.
_turns = asyncio.Semaphore(max(1, settings.DATABASE_POOL_SIZE // 2))

P = ParamSpec("P")
R = TypeVar("R")
View = Callable[..., Coroutine[Any, Any, HttpResponseBase]]


def openai_view(*methods: str, authenticate: Authenticate = by_key) -> Callable[[View], View]:
    """Make a view for these methods, behind an API key or the admin's session, whose errors are OpenAI's."""

    def decorate(view: View) -> View:
        @wraps(view)
        async def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            try:
                if request.method == "OPTIONS":
                    return HttpResponse(status=204, headers={"Allow": ", ".join([*methods, "OPTIONS"])})
                _check_method(request, methods)
                user = await in_database(authenticate, request)
                key = getattr(request, "auth", None)
                HOLDER.set(f"key:{key.pk}" if key else f"user:{user.pk}")
                return await view(request, user, *args, **kwargs)
            except Exception as error:
                return as_openai_error(error).response()

        # A browser sends no bearer key by itself, so nobody can forge a request. `by_session` checks the CSRF token
        # itself, so that the refusal has OpenAI's shape.
        return csrf_exempt(checked)

    return decorate


async def in_database(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call `function`, which reads or changes the database, and return its result.

    The connection goes back to the pool at once. Django would keep it until the request is answered, which may take
    minutes: as many streams as the pool has connections would keep all other requests out. Hundreds of requests at
    once wait here, where they hold no connection. Raises OpenAIError 503 after TURN_S.
    """

    def call() -> R:
        try:
            return function(*args, **kwargs)
        finally:
            connection.close()

    try:
        async with asyncio.timeout(TURN_S):
            await _turns.acquire()
    except TimeoutError as error:
        raise OpenAIError(503, "Too many requests wait for the database: try again.", code="overloaded") from error
    try:
        return await sync_to_async(call)()
    finally:
        _turns.release()


def _check_method(request: HttpRequest, methods: tuple[str, ...]) -> None:
    allowed = {*methods, "HEAD"} if "GET" in methods else {*methods}
    if request.method not in allowed:
        raise OpenAIError(405, f"Method {request.method} is not allowed: use {' or '.join(methods)}.", allow=methods)


def as_openai_error(error: Exception) -> OpenAIError:
    """Any error as one of OpenAI's; an outage or a fault of ours is logged."""
    if isinstance(error, OpenAIError):
        return error
    if isinstance(error, RequestFailed):
        return OpenAIError.from_failure(error)
    if isinstance(error, UnreadablePostError):
        return OpenAIError(400, "The body ended early.", code="invalid_request")
    if (outage := outage_of(error)) is not None:
        logger.error("%s: %s", outage.service, error)
        return OpenAIError(503, outage.message, code=outage.code)
    logger.error("a fault of ours", exc_info=error)
    return OpenAIError(500, "The server failed on this request; its log says why.", code="internal_error")


def json_body(request: HttpRequest) -> bytes:
    """The body of a JSON request. Raises OpenAIError 415."""
    if request.content_type not in {"", "application/json"}:
        message = f"The content type is {request.content_type}: expected application/json."
        raise OpenAIError(415, message, code="unsupported_media_type")
    return request.body


def is_strict(request: HttpRequest) -> bool:
    """True where the client wants unknown fields refused."""
    return request.headers.get("X-miLLM-Strict", "").lower() == "true"


@csrf_exempt
async def no_endpoint(request: HttpRequest, **kwargs: Any) -> HttpResponseBase:
    """Answer 404 in OpenAI's shape for an unknown path under /v1."""
    message = f"Unknown request URL: {request.method} {request.path}."
    return OpenAIError(404, message, code="unknown_url").response()
