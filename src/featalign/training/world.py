"""The processes of one run: which one this is, how they find each other, and how the end of one ends all.

Processes are started by ``featalign train --devices N`` (:mod:`featalign.training.launch`) or by ``torchrun``; both
tell each process its place in the environment. Besides the process group, they share a small store. The one that fails
leaves word there; a thread of every other process looks twice a second, so that none waits for ever.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch.distributed as dist
from torch.distributed import PrefixStore, Store, TCPStore  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous

from featalign.errors import ConfigError, FeatalignError

LOOK_EVERY = 0.5
GRACE = 5.0
"""Seconds in which a process whose neighbour failed may end by itself before it is ended."""
TIMEOUT = timedelta(minutes=10)
"""After which a process that waits for another, which neither answers nor failed, gives up."""
PARENT = "FEATALIGN_PARENT"
"""Environment variable: the process that started this one, without which it ends."""


@dataclass(frozen=True)
class World:
    """The place of this process: ``rank`` of ``size`` in all, ``local_rank`` of ``local_size`` on this machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    @classmethod
    def from_environment(cls) -> World:
        """As torchrun says it; one process alone where nothing is said."""
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        if not all(name in os.environ for name in (*names, "MASTER_ADDR", "MASTER_PORT")):
            return cls()
        return cls(*(int(os.environ[name]) for name in names))

    def share(self, batch: int) -> int:
        """Crops per process of a batch over all. Raises ConfigError where they do not come out even."""
        if batch % self.size:
            near = [n for n in (batch - batch % self.size, batch + self.size - batch % self.size) if n]
            raise ConfigError(
                f"training.batch={batch} is the batch over all processes and cannot be shared evenly by {self.size}; "
                f"take {' or '.join(map(str, near))}"
            )
        return batch // self.size


@contextmanager
def joined(world: World, *, backend: str) -> Iterator[None]:
    """Join the process group; whatever ends this process ends the others, with its message.

    Raises:
        FeatalignError: if another process failed; its own message is on its own standard error.
    """
    if world.size == 1:
        yield
        return
    store, _, _ = next(rendezvous("env://", timeout=TIMEOUT))
    dist.init_process_group(
        backend, store=PrefixStore("group", store), rank=world.rank, world_size=world.size, timeout=TIMEOUT
    )
    word, lookout = _store(), _Lookout(world)
    try:
        yield
        lookout.stop()
        dist.barrier()
        dist.destroy_process_group()
    except BaseException as error:
        lookout.stop()
        _part(world, word, error)
        raise


def wait_for_first(world: World) -> None:
    """Wait, however long, until the first process calls :func:`release`."""
    if world.size > 1 and not world.first:
        _store(timeout=timedelta(days=7)).wait(["released"])


def release(world: World) -> None:
    """What only the first process does before training, such as reading every file, is done."""
    if world.size > 1:
        _store().set("released", "yes")


def _part(world: World, word: Store, error: BaseException) -> None:
    """Tell the others what happened here; where another failed before, its failure is the reason."""
    try:
        first = word.compare_set("failed", "", str(world.rank)).decode()
    except (RuntimeError, OSError):  # the first process is gone, and the store with it: it has spoken
        first = "0"
    if first == str(world.rank):
        time.sleep(3 * LOOK_EVERY)  # the store may live in this process: let the others read
        me = f"process {world.rank} of {world.size}"
        if isinstance(error, FeatalignError):
            error.args = (f"{me}: {error}",)
        if _is_lost_contact(error):
            raise FeatalignError(
                f"{me}: another process was killed, crashed or no longer answers; "
                "the same command goes on from the last checkpoint"
            ) from error
        return
    if world.local_rank:
        raise SystemExit(2) from error
    raise FeatalignError(f"process {world.rank} of {world.size}: stopped, because process {first} failed") from error


def _is_lost_contact(error: BaseException) -> bool:
    """What the libraries say when a process at the other end is gone, or silent for too long."""
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))


class _Lookout:
    """The thread that looks for the failure of another process."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._parent = os.environ.get(PARENT)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _look(self) -> None:
        store = _store()
        while not self._stopped.wait(LOOK_EVERY):
            if self._parent is not None and str(os.getppid()) != self._parent:
                os._exit(2)
            failed = self._failed(store)
            if failed is not None and not self._stopped.wait(GRACE):
                self._leave(failed)

    def _failed(self, store: Store) -> str | None:
        try:
            return store.get("failed").decode() if store.check(["failed"]) else None
        except (RuntimeError, OSError):
            return "0"

    def _leave(self, failed: str) -> None:
        """The main thread waits inside a library that only the end of the process leaves."""
        if self._world.local_rank == 0:
            me = f"process {self._world.rank} of {self._world.size}"
            print(f"featalign: {me}: stopped, because process {failed} failed", file=sys.stderr, flush=True)
        os._exit(2)


def _store(timeout: timedelta = timedelta(seconds=30)) -> Store:
    """A connection of its own to the store that the processes met at; each thread needs one."""
    server = TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False, timeout=timeout)
    return PrefixStore(f"featalign/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", server)
