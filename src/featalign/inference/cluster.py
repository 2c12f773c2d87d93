"""Prediction on a Ray cluster, through Ray Data: the files of one process, however the images are shared out."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from featalign.data import Progress, silent
from featalign.errors import ConfigError, FeatalignError
from featalign.inference.failures import Failures

ImageJob = Callable[[Path], str | None]
"""Segments and writes one image; the reason if it failed. :class:`~featalign.inference.image_files.Job` is one."""

DIED = "the process that segmented it ended without a word; memory may be short (--max-memory, --window)"

TRIES = 2
"""An image whose process ended is given to a new one this often in all: the machine may be to blame, not the image."""


@dataclass(frozen=True)
class Workers:
    """The processes of a cluster that segment: how many, and how many GPUs and CPU cores each takes of it."""

    count: int = 1
    gpus: float = 0
    cpus: float = 1


def predict_on_cluster(
    make: Callable[[], ImageJob],
    images: Sequence[Path],
    out: Path,
    *,
    workers: Workers,
    progress: Progress = silent,
) -> dict[Path, str]:
    """As :func:`~featalign.inference.predict_files`, by processes of a Ray cluster: the one that RAY_ADDRESS names, or
    one that is started on this machine.

    The images, and what ``make`` reads and writes, must be reachable under the same paths from every machine. An image
    is recorded as failed if its job says so or raises anything, or if two processes ended while they segmented it;
    the others go on.

    Args:
        make: builds a worker's job, in the worker; it is sent there by pickle.
        images: all of them.
        out: gets failures.jsonl.
        workers: who does it.
        progress: shows how far the loop is.

    Returns:
        The images that failed, with the reason.

    Raises:
        ConfigError: if Ray is not installed, or the cluster has less than one worker takes.
        FeatalignError: if failures.jsonl cannot be written.
    """
    ray = require_ray()
    _start(ray, workers)
    failures = Failures(out, None)
    answers = _answers(ray, make, images, workers)
    for image, reason in progress(answers, total=len(images), description="predicting"):
        if reason is not None:
            failures.add(image, reason)
    return failures.reasons


def require_ray() -> ModuleType:
    """Ray, with Ray Data. Raises ConfigError if one is not installed."""
    try:
        import ray.data
    except ImportError as error:
        raise ConfigError(
            "Ray Data is not installed; run: pip install 'featalign[ray]', or share the work by --shard i/n"
        ) from error
    return ray


def _start(ray: ModuleType, workers: Workers) -> None:
    """Join or start the cluster. Raises ConfigError if it could never run a worker: Ray would wait for ever."""
    if not ray.is_initialized():
        ray.init(log_to_driver=False, logging_level="ERROR")
    there = ray.cluster_resources()
    for name, asked in (("CPU", workers.cpus), ("GPU", workers.gpus)):
        if asked > there.get(name, 0):
            raise ConfigError(f"a worker takes {asked:g} {name}, the Ray cluster has {there.get(name, 0):g}")


def _answers(
    ray: ModuleType, make: Callable[[], ImageJob], images: Sequence[Path], workers: Workers
) -> Iterator[tuple[Path, str | None]]:
    """Each image, with the reason if it failed, as they come.

    An image is a block of its own, and a worker has one at a time: what ends its process costs nothing else.
    """
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # failures are told by us
    ray.data.DataContext.get_current().enable_progress_bars = False
    tries = ray.remote(_Tries).options(num_cpus=0).remote()
    rows = [{"image": str(image.absolute())} for image in images]
    answers = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
        _Worker,
        fn_constructor_args=(make, tries),
        compute=ray.data.ActorPoolStrategy(size=min(workers.count, len(rows)), max_tasks_in_flight_per_actor=1),
        num_cpus=workers.cpus,
        num_gpus=workers.gpus,
    )
    given = {str(image.absolute()): image for image in images}
    for row in answers.iter_rows():
        image, reason = given[row["image"]], row["reason"]
        yield image, reason and reason.replace(row["image"], str(image))  # under the name that it was given by


class _Tries:
    """Counts for all workers how often each image was begun: Ray begins one whose process ended again, for ever."""

    def __init__(self) -> None:
        self._begun: Counter[str] = Counter()

    def begin(self, image: str) -> int:
        """How often, with this time."""
        self._begun[image] += 1
        return self._begun[image]


class _Worker:
    """One process of the cluster: its model is loaded once, for the first image."""

    def __init__(self, make: Callable[[], ImageJob], tries: Any) -> None:
        self._make = make
        self._tries = tries
        self._job: ImageJob | None = None

    def __call__(self, row: dict[str, str]) -> dict[str, str | None]:
        import ray

        begun = ray.get(self._tries.begin.remote(row["image"]))
        return {**row, "reason": self._reason(Path(row["image"])) if begun <= TRIES else DIED}

    def _reason(self, image: Path) -> str | None:
        """Segments one image. Why it failed; an error raised here would lose that."""
        try:
            self._job = self._job or self._make()
            return self._job(image)
        except FeatalignError as error:
            return str(error)
        except Exception as error:
            return f"{type(error).__name__}: {error}"
