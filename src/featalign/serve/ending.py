"""Streams that would never end by themselves end when the service stops."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Ending:
    """ASGI middleware: answers to GET below ``path`` are cut off once ``stopping`` is set, as if they were complete."""

    def __init__(self, app: ASGIApp, *, path: str, stopping: asyncio.Event) -> None:
        self.app = app
        self.path = path
        self.stopping = stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET" or not scope["path"].startswith(f"{self.path}/"):
            return await self.app(scope, receive, send)
        open_stream = False

        async def noting(message: Message) -> None:
            nonlocal open_stream
            open_stream = message["type"] == "http.response.start" or message.get("more_body", False)
            await send(message)

        answer = asyncio.ensure_future(self.app(scope, receive, noting))
        stop = asyncio.create_task(self.stopping.wait())
        try:
            await asyncio.wait({answer, stop}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            answer.cancel()
            stop.cancel()
            await asyncio.wait({answer, stop})
        if not answer.cancelled():
            return answer.result()
        if open_stream:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
