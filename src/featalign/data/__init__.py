"""Images and masks from files to batches. Independent of models, losses and metrics."""

from __future__ import annotations

from featalign.data.check import check_data, check_folder, require_trainable
from featalign.data.dataset import OnError, SegmentationDataset
from featalign.data.findings import Finding
from featalign.data.folder import FolderDataset
from featalign.data.images import parse_depth, read_image, read_mask
from featalign.data.layouts import ClassTable, class_table
from featalign.data.loading import (
    Batch,
    DataSet,
    Draw,
    EndlessBatches,
    Samples,
    TrainingLoader,
    collate,
    in_order,
    load_batches,
    load_collated,
)
from featalign.data.opening import detect_layout, list_layouts, list_splits, open_dataset
from featalign.data.pixels import class_pixels
from featalign.data.progress import Progress, bar_on, silent
from featalign.data.reading import DEFAULT_MAX_PIXELS, UnreadableError
from featalign.data.report import CheckReport, SplitStatistics
from featalign.data.sample import Sample
from featalign.data.statistics import Images, measured_normalization
from featalign.data.transforms import normalize, train_transform
from featalign.spec import Depth

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "Batch",
    "CheckReport",
    "ClassTable",
    "DataSet",
    "Depth",
    "Draw",
    "EndlessBatches",
    "Finding",
    "FolderDataset",
    "Images",
    "OnError",
    "Progress",
    "Sample",
    "Samples",
    "SegmentationDataset",
    "SplitStatistics",
    "TrainingLoader",
    "UnreadableError",
    "bar_on",
    "check_data",
    "check_folder",
    "class_pixels",
    "class_table",
    "collate",
    "detect_layout",
    "in_order",
    "list_layouts",
    "list_splits",
    "load_batches",
    "load_collated",
    "measured_normalization",
    "normalize",
    "open_dataset",
    "parse_depth",
    "read_image",
    "read_mask",
    "require_trainable",
    "silent",
    "train_transform",
]
