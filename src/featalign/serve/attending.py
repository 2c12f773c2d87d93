"""Requests whose client goes away before the answer are given up."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from featalign.serve.guard import problem
from featalign.serve.problems import GoneError


class Attended:
    """ASGI middleware behind the :class:`~featalign.serve.guard.Guard`, which has received the body: answers to POST
    are cancelled when the client hangs up. Nobody reads the 499 that is sent then; the metrics count it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            return await self.app(scope, receive, send)
        body, begun = await receive(), False

        async def noting(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        gone = asyncio.create_task(_gone(receive))
        answer = asyncio.ensure_future(self.app(scope, _giving(body, gone), noting))
        try:
            await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
            if begun:
                await answer
        finally:
            await _end(gone, answer)
        if not answer.cancelled():
            return answer.result()
        error = GoneError("the client closed the connection before the answer")
        await problem(error.status, str(error))(scope, receive, send)


async def _gone(receive: Receive) -> Message:
    while (message := await receive())["type"] != "http.disconnect":
        pass
    return message


def _giving(body: Message, gone: asyncio.Task[Message]) -> Receive:
    """The body, then the end of the connection when it comes."""
    waiting = [body]

    async def giving() -> Message:
        return waiting.pop() if waiting else await asyncio.shield(gone)

    return giving


async def _end(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
