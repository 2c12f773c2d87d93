"""The `eval` command's work: one process or several, one shard or all."""

from __future__ import annotations

import json as jsonlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from featalign.cli.console import parse_size, progress, save_json
from featalign.cli.options import parse_settings
from featalign.cli.scores import parse_widths, show
from featalign.data import OnError, SegmentationDataset, open_dataset
from featalign.errors import DataError
from featalign.inference import Evaluation, Predictor, evaluate, gathered, merged
from featalign.inference.listing import Shard
from featalign.training.world import World, joined


@dataclass(frozen=True)
class Asked:
    """The options of what is scored, as text."""

    data: Path
    split: str
    layout: str
    layout_options: list[str]
    boundary: str
    metrics: str
    input_size: str | None
    on_error: OnError
    workers: int
    shard: str | None


@dataclass(frozen=True)
class Scored:
    """A model's scores, what they were taken of and how: ``settings``, in plain values."""

    predictor: Predictor
    samples: SegmentationDataset
    found: Evaluation
    settings: dict[str, Any]


def score(predictor: Predictor, asked: Asked, *, json: Path | None) -> Scored | None:
    """Score, show and save; under torchrun the first process does so for all, others give None. Raises
    FeatalignError."""
    world = World.from_environment()
    shard = Shard.parse(asked.shard) if asked.shard else Shard(world.rank + 1, world.size)
    with joined(world, backend="gloo"):
        done = scored(predictor, asked, shard)
        if world.size > 1:
            done = replace(done, found=gathered(done.found))
    if not world.first:
        return None
    show(done.found)
    save_json(json, {**done.settings, **done.found.to_json()})
    return done


def scored(predictor: Predictor, asked: Asked, shard: Shard) -> Scored:
    """The scores of one shard. Raises FeatalignError."""
    samples = open_samples(predictor, asked)
    found = evaluate(
        predictor,
        samples,
        boundary_widths=parse_widths(asked.boundary),
        metrics=[name for name in asked.metrics.split(",") if name],
        input_size=parse_size(asked.input_size),
        rank=shard.index - 1,
        ranks=shard.count,
        workers=asked.workers,
        progress=progress,
    )
    return Scored(predictor, samples, found, _settings(predictor, asked))


def join(parts: list[Path], *, json: Path | None) -> None:
    """Show and save what several shards add up to. Raises DataError."""
    contents = [read_content(path) for path in parts]
    settings = [{key: value for key, value in content.items() if key in _SETTINGS} for content in contents]
    for path, other in zip(parts, settings, strict=True):
        differing = sorted(key for key in _SETTINGS if other.get(key) != settings[0].get(key))
        if differing:
            raise DataError(f"{path} was scored otherwise than {parts[0]}: {', '.join(differing)}")
    found = merged(read_evaluation(path, content) for path, content in zip(parts, contents, strict=True))
    show(found)
    save_json(json, {**settings[0], **found.to_json()})


_SETTINGS = ("split", "mode", "effort", "precision", "scales", "flip", "window", "overlap", "published", "input_size")


def _settings(predictor: Predictor, asked: Asked) -> dict[str, Any]:
    return {
        "split": asked.split,
        "mode": predictor.mode,
        "effort": predictor.effort,
        "precision": predictor.precision,
        **jsonlib.loads(jsonlib.dumps(asdict(predictor.views))),
        "input_size": asked.input_size,
    }


def open_samples(predictor: Predictor, asked: Asked) -> SegmentationDataset:
    """The split as the predictor's model reads it. Raises FeatalignError."""
    return open_dataset(
        asked.data,
        asked.split,
        layout=asked.layout,
        options=parse_settings(asked.layout_options),
        channels=predictor.model.in_channels,
        depth=predictor.depth,
        max_pixels=predictor.max_pixels,
        on_error=asked.on_error,
    )


def read_content(path: Path) -> dict[str, Any]:
    """A file of scores as it is. Raises DataError."""
    try:
        content = jsonlib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise DataError(f"{path}: is not JSON ({error})") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: is not what `featalign eval --json` writes")
    return content


def read_evaluation(path: Path, content: dict[str, Any]) -> Evaluation:
    """The evaluation in the content of ``path``. Raises DataError."""
    try:
        return Evaluation.from_json(content)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
