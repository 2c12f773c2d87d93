"""Lightning's Fabric, set up to bring devices, precision and processes, and nothing else."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision, Precision
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy
from timm.layers.norm_act import convert_sync_batchnorm
from torch import Tensor, nn

from featalign.errors import ConfigError
from featalign.training.world import World

HALF: dict[str, Literal["bf16-mixed", "16-mixed"]] = {"bf16": "bf16-mixed", "fp16": "16-mixed"}


class Autocast(MixedPrecision):
    """Half precision where autocast chooses it; the batch stays as it was read.

    Lightning would round every number in it that is not whole: a box at column 1001.3 of an image to 1000 under bf16,
    and images of 16 bits, which are refused so.
    """

    def convert_input(self, data: Any) -> Any:
        return data


def device_type(device: str) -> str:
    """ "cuda", "cpu" or "mps" of "auto", "cuda:1", …; mps only if named. Raises ConfigError for what is not there."""
    kind = device.split(":")[0]
    if kind == "auto":
        kind = "cuda" if torch.cuda.is_available() else "cpu"
    if kind not in ("cpu", "cuda", "mps"):
        raise ConfigError(f'device "{device}": expected auto, cpu, cuda, cuda:1 or mps')
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there[kind]:
        raise ConfigError(f'device "{device}": there is none on this machine; `featalign doctor` lists what there is')
    return kind


def open_fabric(world: World, *, device: str, precision: str) -> Fabric:
    """Raises ConfigError for a device that is not there."""
    kind = device_type(device)
    plugin = Autocast(HALF[precision], device=kind) if precision in HALF else Precision()
    with _quiet_lightning():
        fabric = Fabric(
            accelerator=kind,
            devices=_devices(device, kind, world),
            num_nodes=world.size // world.local_size,
            strategy=DDPStrategy(find_unused_parameters=True) if world.size > 1 else "auto",
            plugins=[plugin, TorchElasticEnvironment() if world.size > 1 else LightningEnvironment()],
        )
        fabric.launch()
    return fabric


def share_statistics(model: nn.Module, world: World, device: torch.device) -> None:
    """Normalize every batch by the statistics of all processes. Raises ConfigError on a CPU, where torch cannot."""
    if world.size == 1:
        return
    if device.type != "cuda":
        raise ConfigError("training.sync_bn needs CUDA with several processes; leave it out on the CPU")
    convert_sync_batchnorm(model)


def lay_out(model: nn.Module, device: torch.device, *, precision: str) -> None:
    """Put the weights channels last where that trains faster; the maps that convolutions make of them follow.

    On a CPU it does in every precision (docs/benchmarks.md). On a GPU the tensor cores, which autocast is for, read
    maps in that order; in single precision torch's own order stays.
    """
    if device.type == "cpu" or (device.type == "cuda" and precision in HALF):
        model.to(memory_format=torch.channels_last)


def total(tensor: Tensor) -> Tensor:
    """The sum over all processes."""
    if dist.is_initialized():
        dist.all_reduce(tensor)
    return tensor


def gathered(items: list[Any]) -> list[Any]:
    """The items of all processes, in their order."""
    if not dist.is_initialized():
        return items
    parts: list[list[Any]] = [[] for _ in range(dist.get_world_size())]
    dist.all_gather_object(parts, items)
    return [item for part in parts for item in part]


def from_first(thing: Any) -> Any:
    """What the first process has."""
    if not dist.is_initialized():
        return thing
    box = [thing]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def share_state(module: nn.Module) -> None:
    """Give every process the first one's parameters and buffers."""
    if dist.is_initialized():
        for tensor in module.state_dict().values():
            dist.broadcast(tensor, src=0)


def share_buffers(module: nn.Module) -> None:
    """Give every process the first one's running statistics, so that all judge the network that will be stored."""
    if dist.is_initialized():
        for buffer in module.buffers():
            dist.broadcast(buffer, src=0)


def _devices(device: str, kind: str, world: World) -> int | list[int]:
    """Which of them: one per process on this machine, or the one that is named."""
    if ":" in device:
        if world.size > 1:
            raise ConfigError(f'device "{device}" is one device for {world.size} processes; expected cuda')
        return [int(device.split(":")[1])]
    if kind == "cuda" and torch.cuda.device_count() < world.local_size:
        raise ConfigError(f"{world.local_size} processes for {torch.cuda.device_count()} GPUs; lower --devices")
    return world.local_size


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """No device lists, tips and hints: what a user needs to know, this package says itself."""
    logger = logging.getLogger("lightning_fabric")
    level = logger.level
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning_fabric\..*")
        try:
            logger.setLevel(logging.ERROR)
            yield
        finally:
            logger.setLevel(level)
