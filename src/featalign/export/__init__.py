"""Networks as files that run without this library: ONNX, OpenVINO, PyTorch programs; each compared after writing."""

from featalign.export.exported import ExportedModel, is_exported, load_exported
from featalign.export.exporting import Exported, export_model
from featalign.export.metadata import ExportInfo, Precision
from featalign.export.quantize import Drop, Quantization
from featalign.export.targets import TARGETS, Target
from featalign.export.verify import Comparison

__all__ = [
    "TARGETS",
    "Comparison",
    "Drop",
    "ExportInfo",
    "Exported",
    "ExportedModel",
    "Precision",
    "Quantization",
    "Target",
    "export_model",
    "is_exported",
    "load_exported",
]
