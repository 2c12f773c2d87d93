"""Prediction on a cluster, through Ray Data: the same files as from one process, however the images are shared out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from featalign.data import Progress, silent
from featalign.errors import ConfigError, FeatalignError
from featalign.inference.failures import Failures

ImageJob = Callable[[Path], str | None]
"""Segments and writes one image; the reason if it failed. :class:`~featalign.inference.files.Job` is one."""

DIED = "the process that segmented it ended without a word; memory may be short (--max-memory, --window)"

TRIES = 2
"""Passes over images without an answer: a process that dies may take along an image that waits for it."""


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

    The images, what ``make`` reads and writes must be reachable under the same paths from every machine. An image
    whose process dies in both passes is recorded as failed; so is one whose job raises an error.

    Args:
        make: builds a worker's job, in the worker; it is sent there by pickle. Try it before: an error of its own
            shows only as images that failed.
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
    left = {str(path.absolute()): path for path in images}
    for _ in range(TRIES):
        answers = _answers(ray, make, list(left), workers) if left else iter(())
        for image, reason in progress(answers, total=len(left), description="predicting"):
            path = left.pop(image)
            if reason:
                failures.add(path, reason)
    for path in left.values():
        failures.add(path, DIED)
    return failures.reasons


def require_ray() -> ModuleType:
    """Ray, with its data part. Raises ConfigError if it is not installed."""
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ConfigError(
            "Ray is not installed; run: pip install 'featalign[ray]', or share the work by --shard i/n"
        ) from error
    return ray


def _start(ray: ModuleType, workers: Workers) -> None:
    """Join or start the cluster. Raises ConfigError if it could never run a worker: Ray would wait for ever."""
    if not ray.is_initialized():
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else Ray warns of workers without a GPU
        ray.init(log_to_driver=False, logging_level="ERROR")
    there = ray.cluster_resources()
    for name, asked in (("CPU", workers.cpus), ("GPU", workers.gpus)):
        if asked > there.get(name, 0):
            raise ConfigError(f"a worker takes {asked:g} {name}, the Ray cluster has {there.get(name, 0):g}")
    context = ray.data.DataContext.get_current()
    context.max_errored_blocks = -1  # a block is one image: the others go on
    context.enable_progress_bars = False


def _answers(
    ray: ModuleType, make: Callable[[], ImageJob], images: list[str], workers: Workers
) -> Iterator[tuple[str, str]]:
    """Image and reason, empty where it went well, of each that was answered for, as they come."""
    items = ray.data.from_items([{"image": image} for image in images], override_num_blocks=len(images))
    rows = items.map_batches(
        _Worker,
        fn_constructor_args=(make,),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=min(workers.count, len(images)), max_tasks_in_flight_per_actor=1),
        num_gpus=workers.gpus,
        num_cpus=workers.cpus,
        max_restarts=len(images),
        max_task_retries=0,
    )
    for row in rows.iter_rows():
        yield row["image"], row["reason"]


class _Worker:
    """One process of the cluster: its model is loaded once."""

    def __init__(self, make: Callable[[], ImageJob]) -> None:
        self._job = make()

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        images = [str(image) for image in batch["image"]]
        return {"image": images, "reason": [self._reason(Path(image)) for image in images]}

    def _reason(self, image: Path) -> str:
        try:
            return self._job(image) or ""
        except FeatalignError as error:
            return str(error)
        except Exception as error:  # any other would end as an image without a word
            return f"{image}: {type(error).__name__}: {error}"
