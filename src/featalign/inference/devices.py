"""Where a network runs."""

from __future__ import annotations

import torch

from featalign.errors import ConfigError, said


def choose_device(name: str = "auto") -> torch.device:
    """``auto``, or any device name of torch. Raises ConfigError for one that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f'device "{name}" cannot be used ({said(error)}); `featalign doctor` lists those that can'
        ) from error
    return device
