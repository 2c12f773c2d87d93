"""Dynamic micro-batching: what waits and fits together goes through the network together, in one thread."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Any, TypeVar, cast

from featalign.errors import FeatalignError
from featalign.serve.problems import BusyError, GoneError
from featalign.serve.stopping import stopping

P = TypeVar("P")
R = TypeVar("R")
Observe = Callable[[int, float], None]
_GIVE_UP_AFTER = 5


@dataclass(eq=False)
class _Job:
    """``run`` answers payloads of the same ``key`` together; ``cost`` counts against a batch's limit."""

    key: Hashable
    run: Callable[[Sequence[Any]], Sequence[Any]]
    payload: Any
    cost: int
    future: asyncio.Future[Any]


class Place:
    """One admitted request's right to be answered."""

    def __init__(self, batcher: Batcher) -> None:
        self._batcher = batcher
        self._submitted = False

    async def submit(self, run: Callable[[Sequence[P]], Sequence[R]], payload: P, *, key: Hashable, cost: int) -> R:
        """The answer to ``payload``, of ``run(payloads)`` with others of the same key. Raises what ``run`` raises for
        this payload alone."""
        self.arrived()
        return cast(R, await self._batcher.enqueue(key, run, payload, cost))

    def arrived(self) -> None:
        """Nobody needs to wait for this request any more."""
        if not self._submitted:
            self._submitted = True
            self._batcher.arriving -= 1


class Batcher:
    """A bounded queue before one thread. What nobody waits for any more is not begun, and what runs is stopped.

    Args:
        capacity: requests admitted at a time, from :meth:`place` to the end of its block.
        batch: payloads of one run at most.
        max_cost: sum of their costs at most; one alone may cost more.
        wait: seconds to wait for company while admitted requests have yet to submit.
        observe: told the size and seconds of every run.
    """

    def __init__(self, *, capacity: int, batch: int, max_cost: int, wait: float, observe: Observe) -> None:
        self.capacity = capacity
        self.batch = batch
        self.max_cost = max_cost
        self.wait = wait
        self.observe = observe
        self.admitted = 0
        self.arriving = 0
        self._failures = 0
        self._jobs: deque[_Job] = deque()
        self._taken: list[_Job] = []
        self._news = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="network")
        self._task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Requests that have submitted and are not yet running."""
        return len(self._jobs)

    @property
    def working(self) -> bool:
        """Whether there is a thread at work in whose last runs the network did not fail every time."""
        return self._task is not None and not self._task.done() and self._failures < _GIVE_UP_AFTER

    def start(self) -> None:
        """Begin to answer, on the running event loop."""
        self._task = asyncio.create_task(self._work())

    async def stop(self) -> None:
        """End; what still waits, or runs, is cancelled."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for job in (*self._taken, *self._jobs):
            job.future.cancel()
        self._thread.shutdown(wait=True, cancel_futures=True)

    @contextmanager
    def place(self) -> Iterator[Place]:
        """Admission for one request. Raises BusyError where there is no room."""
        if self.admitted >= self.capacity:
            raise BusyError(f"all {self.capacity} places are taken; try again in a second")
        self.admitted += 1
        self.arriving += 1
        place = Place(self)
        try:
            yield place
        finally:
            place.arrived()
            self.admitted -= 1

    async def enqueue(self, key: Hashable, run: Callable[..., Any], payload: Any, cost: int) -> Any:
        """For :class:`Place`."""
        job = _Job(key, run, payload, cost, asyncio.get_running_loop().create_future())
        self._jobs.append(job)
        self._news.set()
        return await job.future

    async def _work(self) -> None:
        while True:
            while not self._jobs:
                self._news.clear()
                await self._news.wait()
            jobs = await self._gather()
            if jobs:
                await self._answer(jobs)

    async def _gather(self) -> list[_Job]:
        """The oldest job and those that can go with it."""
        jobs = self._taken = self._take([])
        deadline = perf_counter() + self.wait
        while jobs and len(jobs) < self.batch and self.arriving and (left := deadline - perf_counter()) > 0:
            self._news.clear()
            try:
                await asyncio.wait_for(self._news.wait(), left)
            except TimeoutError:
                break
            jobs = self._taken = self._take(jobs)
        return jobs

    def _take(self, jobs: list[_Job]) -> list[_Job]:
        """``jobs`` and what fits with them, taken from the queue; those nobody waits for any more are dropped."""
        others: deque[_Job] = deque()
        cost = sum(job.cost for job in jobs)
        while self._jobs:
            job = self._jobs.popleft()
            if job.future.done():
                continue
            fits = not jobs or (job.key == jobs[0].key and cost + job.cost <= self.max_cost)
            if fits and len(jobs) < self.batch:
                jobs = [*jobs, job]
                cost += job.cost
            else:
                others.append(job)
        self._jobs = others
        return jobs

    async def _answer(self, jobs: list[_Job]) -> None:
        start = perf_counter()
        loop = asyncio.get_running_loop()
        outcomes = await loop.run_in_executor(self._thread, _run_for, jobs)
        self.observe(len(jobs), perf_counter() - start)
        if any(not isinstance(outcome, GoneError) for outcome in outcomes):
            self._failures = self._failures + 1 if all(map(_is_fault, outcomes)) else 0
        for job, outcome in zip(jobs, outcomes, strict=True):
            if job.future.done():
                continue
            if isinstance(outcome, Exception):
                job.future.set_exception(outcome)
            else:
                job.future.set_result(outcome)


def _is_fault(outcome: object) -> bool:
    """Whether the network failed, rather than say what is wrong with a request."""
    return isinstance(outcome, Exception) and not isinstance(outcome, FeatalignError)


def _run_for(jobs: list[_Job]) -> list[Any]:
    """As :func:`_run`, given up when nobody waits for any of them."""
    with stopping(lambda: all(job.future.done() for job in jobs)):
        return _run(jobs[0].run, [job.payload for job in jobs])


def _run(run: Callable[[Sequence[Any]], Sequence[Any]], payloads: list[Any]) -> list[Any]:
    """Answers or, for each payload that fails alone as well, its exception."""
    try:
        answers = list(run(payloads))
        if len(answers) != len(payloads):
            raise ValueError(f"{len(payloads)} payloads got {len(answers)} answers")
        return answers
    except GoneError as error:
        return [error] * len(payloads)
    except Exception as error:
        if len(payloads) == 1:
            return [error]
    return [outcome for payload in payloads for outcome in _run(run, [payload])]
