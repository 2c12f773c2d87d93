"""Clients that do not wait."""

from __future__ import annotations

import asyncio

import pytest

from featalign.serve.attending import Attended
from featalign.serve.metrics import Measured, Metrics

BODY = {"type": "http.request", "body": b"asked", "more_body": False}
START, END = {"type": "http.response.start", "status": 200, "headers": []}, {"type": "http.response.body", "body": b"x"}


def answered(application, *, leaves_after: float) -> tuple[list[int], str]:
    """Statuses sent to a client that hangs up after so many seconds, and what the metrics say of it."""
    sent, waiting, metrics = [], [BODY], Metrics()

    async def receive():
        if not waiting:
            await asyncio.sleep(leaves_after)
            return {"type": "http.disconnect"}
        return waiting.pop()

    async def send(message):
        sent.append(message.get("status"))

    scope = {"type": "http", "method": "POST", "path": "/", "headers": []}
    asyncio.run(asyncio.wait_for(Measured(Attended(application), metrics=metrics)(scope, receive, send), 10))
    return [status for status in sent if status], metrics.text().decode()


def test_an_answer_that_nobody_waits_for_is_cancelled_and_counted_as_such():
    cancelled = []

    async def slow(scope, receive, send):
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(await receive() == BODY)
            raise

    statuses, text = answered(slow, leaves_after=0.05)
    assert cancelled == [True] and statuses == [499]
    assert 'status="499"} 1.0' in text and 'status="200"' not in text


@pytest.mark.parametrize("leaves_after", [0.05, 60])
def test_what_has_begun_to_be_sent_is_finished(leaves_after):
    async def answer(scope, receive, send):
        await receive()
        await send(START)
        await asyncio.sleep(0.2)
        await send(END)
        if leaves_after < 1:
            assert (await receive())["type"] == "http.disconnect"

    assert answered(answer, leaves_after=leaves_after)[0] == [200]


def test_a_defect_stays_one():
    async def broken(scope, receive, send):
        raise KeyError("x")

    with pytest.raises(KeyError):
        answered(broken, leaves_after=60)
