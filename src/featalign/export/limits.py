"""What is known not to work, said before minutes are spent on it."""

from __future__ import annotations

from featalign.align import Carafe, ImplicitFunction
from featalign.errors import ExportError
from featalign.export.metadata import Size
from featalign.export.targets import TargetName
from featalign.models import Segmentor


def refuse(model: Segmentor, target: TargetName, size: Size | None) -> None:
    """Raises ExportError with the reason if this network is known not to become such a file."""
    if target != "openvino" or size is not None:
        return
    for module in model.modules():
        if isinstance(module, Carafe) or (isinstance(module, ImplicitFunction) and module.blend):
            what = "carafe" if isinstance(module, Carafe) else "an implicit function that blends bilinearly"
            raise ExportError(
                f"{what} takes weighted sums of neighbours by an operator that OpenVINO compiles at known sizes only; "
                "give one (--size HEIGHTxWIDTH), or export to onnx"
            )
