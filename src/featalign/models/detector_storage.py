"""A detector as a folder of the same two files as every model here, see :mod:`featalign.models.storage`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from featalign.errors import DataError, WeightsError
from featalign.models.detector import Detector
from featalign.models.detector_factory import create_detector
from featalign.models.storage import (
    CONFIG,
    WEIGHTS,
    fit_state,
    model_folder,
    read_config,
    read_safetensors,
    write_folder,
)
from featalign.spec import Classes, Normalization


def save_detector(model: Detector, folder: Path | str) -> None:
    """Write ``model`` into ``folder``; each file is complete or absent at any time.

    Raises:
        WeightsError: for a detector with a fuse of the user's own, which no configuration builds again.
        FeatalignError: if a file cannot be written.
    """
    if not model.config:
        raise WeightsError(
            "this detector cannot be stored as a folder: its fuse is not one of names; store its state_dict() and keep "
            "the code that builds it"
        )
    config = {
        "detector": model.config,
        **model.classes.to_json(),
        "normalization": asdict(model.normalization),
    }
    write_folder(Path(folder), model, config)


def load_detector(source: Path | str) -> Detector:
    """The detector of a folder, in evaluation mode.

    Raises:
        WeightsError: if a file is missing, corrupt, a pickle, or of another network; the message says which.
    """
    folder = model_folder(Path(source))
    config = read_config(folder / CONFIG)
    if "detector" not in config:
        raise WeightsError(f"{folder}: is no detector; a network for segmentation is loaded with load_model")
    try:
        model = create_detector(**{**config["detector"], "pretrained": False}, classes=Classes.from_json(config))
        if "normalization" in config:  # older folders lack it: theirs is the default
            model.normalization = Normalization.from_json(config["normalization"])
    except (KeyError, TypeError, ValueError, DataError) as error:
        raise WeightsError(f"{folder / CONFIG}: no detector can be built from it ({error})") from error
    fit_state(model, read_safetensors(folder / WEIGHTS), source=str(folder / WEIGHTS))
    return model.eval()
