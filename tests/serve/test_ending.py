"""Streams without an end, when the service stops."""

from __future__ import annotations

import asyncio
import signal

import httpx
import pytest
from serve.conftest import make_model
from serve.processes import service

from featalign.models import save_model
from featalign.serve.ending import Ending


def streamed(path: str) -> list[bytes]:
    """What a client gets of a stream that beats until it is cancelled, or ten times."""

    async def beat(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(10):
            await send({"type": "http.response.body", "body": b"alive", "more_body": True})
            await asyncio.sleep(0.02)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def main():
        stopping, sent = asyncio.Event(), []

        async def send(message):
            sent.append(message)
            if message.get("body"):
                stopping.set()

        ending = Ending(beat, path="/try", stopping=stopping)
        await ending({"type": "http", "method": "GET", "path": path}, None, send)
        return sent

    sent = asyncio.run(main())
    assert sent[-1]["more_body"] is False
    return [message["body"] for message in sent[1:]]


def test_streams_of_the_page_are_ended_and_others_finished():
    assert streamed("/try/heartbeat") == [b"alive", b""]
    assert streamed("/v1/models") == [b"alive"] * 10 + [b""]


def test_a_page_that_is_open_does_not_keep_the_service_from_stopping(tmp_path):
    pytest.importorskip("gradio", reason="needs featalign[try]")
    save_model(make_model(0), tmp_path / "model")
    with service(tmp_path / "model", "--demo", log=tmp_path / "log") as (process, address):
        with httpx.stream("GET", f"{address}/try/gradio_api/heartbeat/a-session", timeout=60) as stream:
            beats = stream.iter_text()
            assert "ALIVE" in next(beats)
            process.send_signal(signal.SIGTERM)
            assert list(beats) == []
        assert process.wait(30) in (0, -signal.SIGTERM)
    assert "Traceback" not in (tmp_path / "log").read_text()
