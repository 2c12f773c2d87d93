"""Images and masks from files to batches. Independent of models, losses and metrics."""

from __future__ import annotations

from featalign.data.check import Progress, check_folder, require_trainable, silent
from featalign.data.findings import Finding
from featalign.data.folder import FolderDataset
from featalign.data.images import read_image, read_mask
from featalign.data.layout import list_splits
from featalign.data.loading import Batch, Draw, EndlessBatches, Samples, TrainingLoader, collate, in_order, load_batches
from featalign.data.reading import DEFAULT_MAX_PIXELS
from featalign.data.report import CheckReport, SplitStatistics
from featalign.data.sample import Sample
from featalign.data.transforms import normalize, train_transform

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "Batch",
    "CheckReport",
    "Draw",
    "EndlessBatches",
    "Finding",
    "FolderDataset",
    "Progress",
    "Sample",
    "Samples",
    "SplitStatistics",
    "TrainingLoader",
    "check_folder",
    "collate",
    "in_order",
    "list_splits",
    "load_batches",
    "normalize",
    "read_image",
    "read_mask",
    "require_trainable",
    "silent",
    "train_transform",
]
