"""The queue before the network."""

from __future__ import annotations

import asyncio
import threading
from time import perf_counter, sleep

import numpy as np
import pytest
import torch

from featalign.export import ExportedModel, ExportInfo
from featalign.serve.batching import Batcher
from featalign.serve.problems import BusyError, GoneError
from featalign.serve.stopping import stopping
from featalign.spec import Classes, Normalization


def run(scenario, **options):
    """Runs ``scenario(batcher, sizes)``, ``sizes`` being those of the runs so far."""

    async def main():
        sizes = []
        settings = {"capacity": 100, "batch": 4, "max_cost": 100, "wait": 0.05} | options
        batcher = Batcher(observe=lambda size, seconds: sizes.append(size), **settings)
        batcher.start()
        try:
            return await asyncio.wait_for(scenario(batcher, sizes), 10)
        finally:
            await batcher.stop()

    return asyncio.run(main())


async def ask(batcher, payload, *, work=lambda payloads: [p * 10 for p in payloads], key="k", cost=1):
    with batcher.place() as place:
        await asyncio.sleep(0)
        return await place.submit(work, payload, key=key, cost=cost)


def test_equal_keys_run_together_up_to_the_limits():
    async def scenario(batcher, sizes):
        assert await asyncio.gather(*(ask(batcher, i) for i in range(10))) == [10 * i for i in range(10)]
        assert sizes == [4, 4, 2]
        sizes.clear()
        await asyncio.gather(*(ask(batcher, i, cost=40) for i in range(4)))
        assert sizes == [2, 2]
        sizes.clear()
        await asyncio.gather(*(ask(batcher, i, key=i % 2) for i in range(6)))
        assert sorted(sizes) == [3, 3]
        sizes.clear()
        assert await ask(batcher, 7, cost=1000) == 70, "one alone may cost more"

    run(scenario)


def test_nobody_waits_for_company_that_is_not_coming():
    async def scenario(batcher, sizes):
        start = asyncio.get_running_loop().time()
        await ask(batcher, 1)
        return asyncio.get_running_loop().time() - start

    assert run(scenario, wait=5.0) < 1


def test_a_failing_payload_fails_alone():
    def work(payloads):
        if 3 in payloads:
            raise ZeroDivisionError("three")
        return payloads

    async def scenario(batcher, sizes):
        return await asyncio.gather(*(ask(batcher, i, work=work) for i in range(8)), return_exceptions=True)

    found = run(scenario, batch=8)
    assert isinstance(found.pop(3), ZeroDivisionError)
    assert found == [0, 1, 2, 4, 5, 6, 7]


def test_a_wrong_number_of_answers_is_a_failure_of_that_batch_only():
    async def scenario(batcher, sizes):
        with pytest.raises(ValueError):
            await ask(batcher, 1, work=lambda payloads: [])
        return await ask(batcher, 2)

    assert run(scenario) == 20


def test_what_finds_no_place_is_refused_at_once():
    started, go = threading.Event(), threading.Event()

    def slow(payloads):
        started.set()
        go.wait(5)
        return payloads

    async def scenario(batcher, sizes):
        tasks = [asyncio.create_task(ask(batcher, i, work=slow)) for i in range(3)]
        await asyncio.to_thread(started.wait, 5)
        with pytest.raises(BusyError):
            await ask(batcher, 9)
        go.set()
        assert await asyncio.gather(*tasks) == [0, 1, 2]
        assert await ask(batcher, 9) == 90
        assert batcher.admitted == batcher.arriving == batcher.waiting == 0

    run(scenario, capacity=3, batch=1)


def test_what_nobody_waits_for_is_not_run():
    started, go, seen = threading.Event(), threading.Event(), []

    def slow(payloads):
        started.set()
        go.wait(5)
        seen.extend(payloads)
        return payloads

    async def scenario(batcher, sizes):
        first = asyncio.create_task(ask(batcher, 1, work=slow))
        await asyncio.to_thread(started.wait, 5)
        second = asyncio.create_task(ask(batcher, 2, work=slow))
        await asyncio.sleep(0.05)
        second.cancel()
        third = asyncio.create_task(ask(batcher, 3, work=slow))
        await asyncio.sleep(0.05)
        go.set()
        await asyncio.gather(first, third)
        assert seen == [1, 3]

    run(scenario, batch=1)


def test_what_runs_is_stopped_when_nobody_waits():
    started, seen, layer = threading.Event(), [], torch.nn.Identity()

    def long(payloads):
        started.set()
        end = perf_counter() + 5
        while perf_counter() < end:
            layer(torch.zeros(1))
            seen.append(len(payloads))
        seen.append("to the end")

    async def scenario(batcher, sizes):
        both = [asyncio.create_task(ask(batcher, i, work=long)) for i in range(2)]
        await asyncio.to_thread(started.wait, 5)
        both[0].cancel()
        before = len(seen)
        await asyncio.sleep(0.05)
        assert len(seen) > before, "somebody still waits"
        both[1].cancel()
        assert await ask(batcher, 7) == 70 and batcher.working
        assert set(seen) == {2}

    run(scenario)


def test_an_exported_file_is_stopped_between_its_runs():
    class File:
        info = ExportInfo(Classes.numbered(2), 3, Normalization(), "resized", "fp32", (8, 8), {}, "1")
        runs = 0

        def run(self, images, size):
            self.runs += 1
            return np.zeros((1, 2, 8, 8), np.float32)

    file = File()
    with stopping(lambda: file.runs == 1), pytest.raises(GoneError):
        ExportedModel(file, digest="")(torch.zeros(3, 3, 8, 8))
    assert file.runs == 1


@pytest.mark.parametrize("runs", [False, True])
def test_nobody_waits_for_a_batcher_that_has_ended(runs):
    """Neither who waited for company, nor whose image was with the network."""
    begun = threading.Event()

    def work(payloads):
        begun.set()
        sleep(0.2)
        return payloads

    async def scenario():
        batcher = Batcher(capacity=2, batch=2, max_cost=2, wait=10, observe=lambda *_: None)
        batcher.start()
        with batcher.place() as company:
            asked = asyncio.create_task(ask(batcher, 1, work=work))
            if runs:
                company.arrived()
                assert await asyncio.to_thread(begun.wait, 5)
            else:
                await asyncio.sleep(0.1)
            await batcher.stop()
        await asyncio.wait([asked], timeout=5)
        assert asked.cancelled() and begun.is_set() == runs

    asyncio.run(scenario())
