"""What this installation is made of, and whether its parts fit together."""

from __future__ import annotations

import importlib
import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("featalign", "torch", "torchvision", "timm", "lightning-fabric", "numpy", "pillow", "safetensors")


def versions() -> dict[str, str]:
    """Versions of Python, the platform and each package ("missing" if not installed); no host names, no paths."""
    about = {"python": platform.python_version(), "platform": f"{platform.system()} {platform.machine()}"}
    return about | {name: _version(name) for name in PACKAGES}


def explain(error: BaseException) -> str | None:
    """The cure for an import that failed because torch and torchvision do not match; None for any other error."""
    if "torchvision::" not in str(error):
        return None
    return (
        f"torch {_version('torch')} and torchvision {_version('torchvision')} were not built for each other, so "
        "torchvision's operators are missing; install a matched pair from one place: "
        "pip install --force-reinstall torch torchvision"
    )


def faults() -> list[str]:
    """What keeps this installation from working, one line each."""
    found = [f"{name} is not installed: pip install {name}" for name in PACKAGES if _version(name) == "missing"]
    try:
        importlib.import_module("torchvision.ops")
    except (ImportError, RuntimeError) as error:
        found.append(explain(error) or f"torchvision cannot be imported ({error})")
    return found


def devices() -> list[str]:
    """Where networks can run, best first, with what is known of each."""
    import torch

    found = [
        f"cuda:{i}  {torch.cuda.get_device_name(i)}, {torch.cuda.get_device_properties(i).total_memory / 2**30:.0f} GiB"
        for i in range(torch.cuda.device_count())
    ]
    if torch.backends.mps.is_available():
        found.append("mps")
    return [*found, f"cpu  {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"
