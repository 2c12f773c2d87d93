"""From bytes to answers: admission, limits, threads, batches. HTTP and the page stand on this."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from featalign.errors import ConfigError, DataError, did_you_mean
from featalign.export import ExportedModel
from featalign.inference import Predictor
from featalign.models import Detector
from featalign.serve.answered import Detected, Segmented
from featalign.serve.batching import Batcher, Place
from featalign.serve.images import decode
from featalign.serve.metrics import Metrics
from featalign.serve.networks import Ask, Detect, Encode, Pixels, Segment, segmentor
from featalign.serve.problems import CannotError, LateError, RequestError, UnknownError
from featalign.serve.question import Question
from featalign.serve.sessions import Kept, Sessions
from featalign.serve.settings import Settings
from featalign.spec import Depth

T = TypeVar("T")


class Service:
    """Models by name, asked by many at once. The first of its kind is the one that is meant where none is named.

    Args:
        models: those that label every pixel.
        settings: limits.
        detectors: those that find objects, of any name that ``models`` has not.
        device: where detectors run.

    Raises:
        ConfigError: without a model.
    """

    def __init__(
        self,
        models: Mapping[str, Predictor],
        settings: Settings,
        *,
        detectors: Mapping[str, Detector] | None = None,
        device: str = "auto",
    ) -> None:
        self.models, self.detectors = dict(models), dict(detectors or {})
        if not self.models and not self.detectors:
            raise ConfigError("serve: needs at least one model")
        self._device = device
        self.settings = settings
        self.metrics = Metrics()
        self.sessions = Sessions(keep_for=settings.keep_for, max_bytes=settings.keep_bytes)
        self.ready = False
        self.stopping = asyncio.Event()
        """Set when no more requests are accepted and those that have begun are being finished."""
        self.batcher = Batcher(
            capacity=settings.queue,
            batch=settings.batch,
            max_cost=settings.batch_pixels,
            wait=settings.batch_wait,
            observe=self.metrics.batch,
        )
        self._workers = ThreadPoolExecutor(settings.workers, thread_name_prefix="worker")
        self.metrics.gauge("requests_admitted", "Requests that have a place.", lambda: self.batcher.admitted)
        self.metrics.gauge("requests_waiting", "Requests that wait for the network.", lambda: self.batcher.waiting)
        self.metrics.gauge("images_kept", "Images that are kept encoded.", lambda: len(self.sessions))
        self.metrics.gauge("images_kept_bytes", "Their memory.", lambda: self.sessions.bytes)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Starts the threads and tries every model once; ends them after the last answer."""
        self.batcher.start()
        tidying = asyncio.create_task(self._tidy())
        try:
            for name, predictor in self.models.items():
                fixed = predictor.model.info.size if isinstance(predictor.model, ExportedModel) else None
                run = Segment(predictor, Question(input_size=fixed))
                await self._try(name, run, predictor.model.in_channels, predictor.depth)
            for name, detector in self.detectors.items():
                await self._try(name, Detect(detector, self._device, 1.0), detector.in_channels)
            self.ready = True
            yield
        finally:
            self.ready = False
            tidying.cancel()
            await self.batcher.stop()
            self._workers.shutdown(wait=True, cancel_futures=True)

    async def segment(
        self, data: bytes, question: Question, render: Callable[[Segmented], T], *, model: str | None = None
    ) -> T:
        """What ``render``, in a thread, makes of the answer. Raises RequestError."""
        name, predictor = self.choose(model)

        async def answer(place: Place) -> T:
            pixels = await self.pixels(data, model=name)
            question.check((pixels.shape[0], pixels.shape[1]), self.settings)
            labels = await place.submit(
                Segment(predictor, question),
                pixels,
                key=(name, question, pixels.shape),
                cost=question.network_pixels(pixels.shape[:2]),
            )
            return await self._in_thread(render, Segmented(name, pixels, labels, predictor.model.classes))

        return await self._admitted(answer)

    async def detect(
        self, data: bytes, threshold: float, render: Callable[[Detected], T], *, model: str | None = None
    ) -> T:
        """What ``render``, in a thread, makes of the objects found. Raises RequestError."""
        name, detector = self.choose_detector(model)

        async def answer(place: Place) -> T:
            pixels = await self._decoded(data, detector.in_channels, 8)
            found = await place.submit(Detect(detector, self._device, threshold), pixels, key=object(), cost=0)
            return await self._in_thread(render, Detected(name, pixels, found))

        return await self._admitted(answer)

    async def keep(self, data: bytes, question: Question, *, model: str | None = None) -> tuple[str, Kept]:
        """Encode an image; its id, and what is kept. Raises RequestError."""
        name, predictor = self.choose(model)
        segmentor(name, predictor)

        async def answer(place: Place) -> Kept:
            pixels = await self.pixels(data, model=name)
            question.check((pixels.shape[0], pixels.shape[1]), self.settings)
            return await place.submit(Encode(name, predictor, question), pixels, key=object(), cost=0)

        kept = await self._admitted(answer)
        return self.sessions.put(kept), kept

    async def query(self, image: str, points: Sequence[tuple[float, float]]) -> tuple[Kept, NDArray[np.float32]]:
        """What is kept under the id ``image``, and the probabilities (n, K) at points (x, y) in [0, 1]."""
        kept = self.sessions.get(image)
        predictor = self.models[kept.model]
        ask = Ask(segmentor(kept.model, predictor), kept, predictor.mode)

        async def answer(place: Place) -> NDArray[np.float32]:
            return await place.submit(ask, np.asarray(points, dtype=np.float32), key=object(), cost=0)

        return kept, await self._admitted(answer)

    async def pixels(self, data: bytes, *, model: str | None = None) -> Pixels:
        """The image as the model reads it, decoded in a thread. Raises RequestError."""
        predictor = self.choose(model)[1]
        return await self._decoded(data, predictor.model.in_channels, predictor.depth)

    async def _decoded(self, data: bytes, channels: int, depth: Depth) -> Pixels:
        allowed = self.settings.max_pixels
        return await self._in_thread(partial(decode, channels=channels, depth=depth, max_pixels=allowed), data)

    def choose(self, model: str | None) -> tuple[str, Predictor]:
        """Name and predictor. Raises UnknownError, or CannotError of a detector."""
        return _chosen(model, self.models, self.detectors, "finds objects and labels no pixels; ask /v1/detect")

    def choose_detector(self, model: str | None) -> tuple[str, Detector]:
        """Name and detector. Raises UnknownError, or CannotError of a model that labels pixels."""
        return _chosen(model, self.detectors, self.models, "labels pixels and finds no objects; ask /v1/segment")

    async def _admitted(self, answer: Callable[[Place], Any]) -> Any:
        with self.batcher.place() as place:
            try:
                async with asyncio.timeout(self.settings.timeout):
                    return await answer(place)
            except TimeoutError as error:
                raise LateError(f"no answer within {self.settings.timeout:g} s; send a smaller image") from error
            except (ConfigError, DataError) as error:  # what a predictor, or a file, says of sizes and memory
                raise RequestError(str(error)) from error

    async def _in_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._workers, function, *arguments)

    async def _try(
        self, name: str, run: Callable[[Sequence[Pixels]], Sequence[Any]], channels: int, depth: Depth = 8
    ) -> None:
        blank = np.zeros((64, 64, channels), np.uint8 if depth == 8 else np.uint16)
        with self.batcher.place() as place:
            await place.submit(run, blank, key=name, cost=0)

    async def _tidy(self) -> None:
        with suppress(asyncio.CancelledError):
            while True:
                await asyncio.sleep(min(self.settings.keep_for, 10))
                self.sessions.expire()


def _chosen(model: str | None, ours: Mapping[str, T], others: Mapping[str, object], why: str) -> tuple[str, T]:
    """The one of that name, or the first. ``why``: what to say of one of the ``others``."""
    name = model or next(iter(ours), "") or next(iter(others))
    if name in ours:
        return name, ours[name]
    if name in others:
        raise CannotError(f'model "{name}" {why}')
    raise UnknownError(f'model: no "{name}" is served here; {did_you_mean(name, [*ours, *others])}')
