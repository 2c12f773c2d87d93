"""A model as others get it: its folder with a card, on disk or on the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from featalign.errors import ConfigError
from featalign.files import write_atomically
from featalign.models.card import ModelCard, Origin
from featalign.models.hub import HubModel, upload
from featalign.models.network import SegmentationNetwork
from featalign.models.storage import CONFIG, WEIGHTS, save_model

CARD = "README.md"


def save_pretrained(model: SegmentationNetwork, folder: Path | str, *, card: ModelCard | None = None) -> None:
    """Write ``model`` and its card into ``folder``: ``config.json``, ``model.safetensors`` and ``README.md``.

    Args:
        card: what is known of the model; default what the network itself says.

    Raises:
        WeightsError, FeatalignError: as :func:`~featalign.models.save_model`.
    """
    folder = Path(folder)
    name = folder.resolve().name  # not its whole path, which is of this machine
    _write(model, folder, card or _bare(model, name), source=name)


def push_to_hub(model: SegmentationNetwork, name: str, *, private: bool = False, card: ModelCard | None = None) -> str:
    """Put ``model`` and its card on the Hugging Face hub as ``owner/name``; the address there.

    Args:
        name: ``owner/name``, made if there is none; ``owner/name@branch`` for a branch that exists.
        private: only you, or the owner's members, may see it.
        card: as of :func:`save_pretrained`.

    Raises:
        ConfigError: if ``name`` is not of that form.
        WeightsError: without a login, without the right to write there, or where the hub cannot be reached.
    """
    target = hub_target(name)
    with TemporaryDirectory() as folder:
        _write(model, Path(folder), card or _bare(model, target.repo.split("/")[1]), source=target.name)
        return upload(Path(folder), (CONFIG, WEIGHTS, CARD), target, private=private)


def hub_target(name: str) -> HubModel:
    """The model on the hub that ``name`` says. Raises ConfigError."""
    target = HubModel.parse(name)
    if target is None:
        raise ConfigError(f'expected the name of a model on the hub as owner/name, got "{name}"')
    return target


def _write(model: SegmentationNetwork, folder: Path, card: ModelCard, *, source: str) -> None:
    save_model(model, folder)
    write_atomically(folder / CARD, card.text(model, source=source))


def _bare(model: SegmentationNetwork, title: str) -> ModelCard:
    """What the network itself says: it knows of pretrained weights only while nobody has stored and loaded it."""
    began = model.config.get("pretrained") or None
    return ModelCard(title, origin=Origin(backbone=Path(began).name if isinstance(began, str) else began))
