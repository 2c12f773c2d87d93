"""The network that a folder of :mod:`~featalign.models.storage` describes, from here or from the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from featalign.errors import DataError, WeightsError
from featalign.models.factory import create_model
from featalign.models.folding import folded
from featalign.models.hub import PREFIX, HubModel, fetch
from featalign.models.segmentor import Segmentor
from featalign.models.storage import CONFIG, WEIGHTS, fit_state, model_folder, read_config, read_safetensors
from featalign.spec import Classes, Normalization


def load_model(source: Path | str, *, local_files_only: bool = False) -> Segmentor:
    """The model of a folder, of a training run, or of the Hugging Face hub, in evaluation mode.

    Args:
        source: a model folder or the run folder that holds one; what exists as a path is that. A string of the form
            ``owner/name`` or ``owner/name@revision`` that is no path is a model on the hub, and so is either with
            ``hub:`` before it: ``config.json`` and ``model.safetensors`` are read from there or from the hub's cache,
            and no other file is.
        local_files_only: of the hub, take only what is in the cache.

    Raises:
        WeightsError: if a file is missing, corrupt, a pickle, or of another network; the message says which.
    """
    folder = _folder_of(source, local_files_only=local_files_only)
    config = read_config(folder / CONFIG)
    if "detector" in config:
        raise WeightsError(f"{folder}: is a detector; load it with load_detector")
    try:
        # Whatever the file says, building the network reads no other weights.
        model = create_model(**{**config["model"], "pretrained": False}, classes=Classes.from_json(config))
        model.normalization = Normalization.from_json(config["normalization"])
        model = folded(model) if config.get("folded") else model
    except (KeyError, TypeError, ValueError, DataError) as error:
        raise WeightsError(f"{folder / CONFIG}: does not describe a model ({error})") from error
    fit_state(model, read_safetensors(folder / WEIGHTS), source=str(folder / WEIGHTS))
    return model.eval()


def _folder_of(source: Path | str, *, local_files_only: bool) -> Path:
    named = _on_hub(source)
    if named is None:
        return model_folder(Path(source))
    try:
        return _fetched(named, local_files_only=local_files_only)
    except WeightsError as error:
        if str(source).startswith(PREFIX):
            raise
        raise WeightsError(f"{source}: no such folder here, and on the hub {error}") from error


def _on_hub(source: Path | str) -> HubModel | None:
    """The model on the hub that ``source`` names; None where it is a path."""
    text = source.as_posix() if isinstance(source, Path) else source
    if Path(source).exists() or (isinstance(source, Path) and not text.startswith(PREFIX)):
        return None
    return HubModel.parse(text)


def _fetched(model: HubModel, *, local_files_only: bool) -> Path:
    """The folder in the hub's cache with both files, of one commit. The weights come once the configuration is ours."""
    config = fetch(model, CONFIG, local_files_only=local_files_only)
    if not {"model", "classes", "normalization"} <= read_config(config).keys():
        raise WeightsError(f"{model}: its {CONFIG} is of another library; expected a model that featalign shared")
    commit = config.parent.name
    return fetch(model._replace(revision=commit), WEIGHTS, local_files_only=local_files_only).parent
