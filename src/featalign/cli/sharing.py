"""What ``featalign share`` does with its options."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from featalign.cli.console import out
from featalign.errors import ConfigError
from featalign.models import load_model
from featalign.models.card import Stated
from featalign.models.sharing import hub_target, push_to_hub, save_pretrained
from featalign.training.sharing import run_card


def share_run(
    run: Path, *, to: Path | None, push: str | None, private: bool, stated: Stated, evaluations: Sequence[Path]
) -> None:
    """Write the model of ``run`` and its card to a folder, to the hub, or both. Raises FeatalignError."""
    if to is None and push is None:
        raise ConfigError("nowhere to share it; give --to DIR, --push OWNER/NAME, or both")
    if private and push is None:
        raise ConfigError("--private is of --push OWNER/NAME; a folder is as private as its place")
    title = hub_target(push).repo.split("/")[1] if push else (to or run).resolve().name
    model = load_model(run)
    card = run_card(model, run, title=title, stated=stated, evaluations=evaluations)
    if to is not None:
        save_pretrained(model, to, card=card)
        out.print(f"model and card in {to}")
    if push is not None:
        out.print(f"pushed to {push_to_hub(model, push, private=private, card=card)}")
