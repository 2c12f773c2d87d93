"""The door: who may ask, how much they may send, and for how long they may take to send it."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from featalign.serve import auth
from featalign.serve.problems import BusyError, GoneError, RequestError, TooLargeError
from featalign.serve.settings import Settings

_PER_PLACE = 4


class SlowError(RequestError):
    """A request that is not received in time."""

    status = 408


def problem(status: int, detail: str, *, retry_after: int | None = None, close: bool = False) -> JSONResponse:
    """The answer to a request that is refused. ``close``: the connection too, whatever else the client still sends."""
    headers = {"Retry-After": str(retry_after)} if retry_after is not None else {}
    if close:
        headers["Connection"] = "close"
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse({"detail": detail}, status, headers)


class Guard:
    """ASGI middleware. A request reaches the application whole, allowed and within the limits, or not at all.

    Of requests other than GET, ``_PER_PLACE`` times the queue are received or answered at a time.
    """

    def __init__(self, app: ASGIApp, *, settings: Settings) -> None:
        self.app = app
        self.settings = settings
        self._pending = 0
        self._open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send) if scope["type"] == "lifespan" else None
        early = self._answer_early(scope)
        if early is not None:
            return await early(scope, receive, send)
        if scope["method"] in ("GET", "HEAD"):
            return await self.app(scope, receive, send)
        held = _Held()
        self._open += 1
        try:
            if self._open > _PER_PLACE * self.settings.queue:
                raise BusyError("too many requests are being received or answered; try again in a second")
            await self._receive(held, scope, receive)
            await self.app(scope, held.replay(receive), send)
        except RequestError as error:
            await problem(error.status, str(error), retry_after=error.retry_after, close=True)(scope, receive, send)
        finally:
            self._open -= 1
            self._pending -= held.size

    def _answer_early(self, scope: Scope) -> Response | None:
        token, hosts = self.settings.token, self.settings.hosts
        refused = auth.refusal(scope, token, hosts)
        if token is not None and auth.brings_token(scope, token) and (refused is None or refused[0] != 403):
            return RedirectResponse("/" + scope["path"].lstrip("/"), 303, {"Set-Cookie": auth.cookie(token)})
        return None if refused is None else problem(*refused, close=True)

    async def _receive(self, held: _Held, scope: Scope, receive: Receive) -> None:
        try:
            async with asyncio.timeout(self.settings.upload_timeout):
                await self._fill(held, scope, receive)
        except TimeoutError as error:
            raise SlowError(f"the request did not arrive within {self.settings.upload_timeout:g} s") from error

    async def _fill(self, held: _Held, scope: Scope, receive: Receive) -> None:
        """Raises TooLargeError or BusyError; what still comes is let run out first, up to as much again, because a
        client that is sending does not listen."""
        limit, fault = self.settings.max_body, self._too_large(int(Headers(scope=scope).get("content-length", "0")))
        received, more = 0, True
        while more and received <= 2 * limit:
            message = await receive()
            chunk, more = message.get("body", b""), message.get("more_body", False)
            received += len(chunk)
            fault = fault or self._too_large(received) or self._no_room(len(chunk))
            if fault is None:
                held.chunks.append(chunk)
                held.size += len(chunk)
                self._pending += len(chunk)
            if message["type"] == "http.disconnect":
                raise GoneError("the client closed the connection before the request was complete")
        if fault is not None:
            raise fault

    def _too_large(self, size: int) -> RequestError | None:
        limit = self.settings.max_body
        return (
            TooLargeError(f"the request is larger than {limit:,} bytes; send a smaller image") if size > limit else None
        )

    def _no_room(self, size: int) -> RequestError | None:
        if self._pending + size <= self.settings.max_pending:
            return None
        return BusyError("too many requests are being received; try again in a second")


class _Held:
    """A received body."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.size = 0

    def replay(self, receive: Receive) -> Receive:
        """Gives the body as one message, then what else comes."""
        given = False

        async def replaying() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            body, self.chunks = b"".join(self.chunks), []
            return {"type": "http.request", "body": body, "more_body": False}

        return replaying
