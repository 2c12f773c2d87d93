"""Prediction on a cluster, through Ray Data: the same files as from one process, however the images are shared out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from featalign.errors import ConfigError
from featalign.inference.failures import Failures
from featalign.inference.files import Job

DIED = "the process that segmented it ended without a word; memory may be short (--max-memory, --window)"

TRIES = 2
"""Passes over images without an answer: a process that dies takes those with it that wait for it."""


def predict_on_cluster(
    make: Callable[[], Job],
    images: Sequence[Path],
    out: Path,
    *,
    workers: int = 1,
    gpus: float = 0,
    cpus: float = 1,
) -> dict[Path, str]:
    """As :func:`~featalign.inference.predict_files`, by ``workers`` processes of a Ray cluster.

    The images, the model and ``out`` must be reachable under the same paths from every machine. An image whose process
    dies twice is recorded as failed and not tried again in this run.

    Args:
        make: builds a worker's job, in the worker; it is sent there by pickle.
        images: all of them.
        out: gets failures.jsonl besides what jobs write.
        workers: processes that each hold a model.
        gpus, cpus: what each of them takes of the cluster.

    Returns:
        The images that failed, with the reason.

    Raises:
        ConfigError: if Ray is not installed.
        FeatalignError: if ``make`` or writing raises it.
    """
    ray = _ray()
    make()  # what is wrong with the settings or the folder is said here, once
    if not ray.is_initialized():
        ray.init(log_to_driver=False, logging_level="ERROR")
    context = ray.data.DataContext.get_current()
    context.max_errored_blocks = -1  # a block is one image: the others go on
    context.enable_progress_bars = False
    reasons: dict[str, str] = {}
    for _ in range(TRIES):
        left = [path for path in images if str(path) not in reasons]
        if left:
            reasons |= _pass(ray, make, left, workers=workers, gpus=gpus, cpus=cpus)
    failures = Failures(out, None)
    for path in images:
        reason = reasons.get(str(path), DIED)
        if reason:
            failures.add(path, reason)
    return failures.reasons


def _pass(
    ray: ModuleType, make: Callable[[], Job], images: Sequence[Path], *, workers: int, gpus: float, cpus: float
) -> dict[str, str]:
    """Image -> reason, empty where it went well, of all that were answered for."""
    items = ray.data.from_items([{"image": str(path)} for path in images], override_num_blocks=len(images))
    rows = items.map_batches(
        _Worker,
        fn_constructor_args=(make,),
        batch_size=1,
        concurrency=workers,
        num_gpus=gpus,
        num_cpus=cpus,
        max_restarts=len(images),
        max_task_retries=0,
    )
    return {row["image"]: row["reason"] for row in rows.take_all()}


class _Worker:
    """One process of the cluster: its model is loaded once."""

    def __init__(self, make: Callable[[], Job]) -> None:
        self._job = make()

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        images = [str(image) for image in batch["image"]]
        return {"image": images, "reason": [self._job(Path(image)) or "" for image in images]}


def _ray() -> ModuleType:
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ConfigError(
            "Ray is not installed; run: "
            f"{Path(sys.executable).name} -m pip install 'featalign[ray]', or share the work by --shard i/n"
        ) from error
    return ray
