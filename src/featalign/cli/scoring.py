"""The `eval` command's work: one process or several, one shard or all."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from featalign.cli.console import parse_size, progress, save_json
from featalign.cli.options import parse_settings
from featalign.cli.score_table import parse_widths, show
from featalign.cli.settings import Settings, differing, settings_in, settings_of
from featalign.data import OnError, SegmentationDataset, open_dataset
from featalign.errors import DataError
from featalign.files import read_json
from featalign.inference import Evaluation, Predictor, evaluate, gathered, merged
from featalign.inference.listing import Shard
from featalign.training.world import World, joined


@dataclass(frozen=True)
class ScoreOptions:
    """What is scored and how, as the command line has it."""

    data: Path
    split: str
    layout: str
    layout_options: list[str]
    boundary: str
    metrics: str
    input_size: str | None
    on_error: OnError
    workers: int
    shard: str | None = None


@dataclass(frozen=True)
class Scored:
    """A model's scores, what they were taken of and how: ``settings``, in plain values."""

    predictor: Predictor
    samples: SegmentationDataset
    found: Evaluation
    settings: Settings


def score(predictor: Predictor, options: ScoreOptions, *, json: Path | None) -> Scored | None:
    """Score, show and save; under torchrun the first process does so for all, others give None. Raises
    FeatalignError."""
    world = World.from_environment()
    shard = Shard.parse(options.shard) if options.shard else Shard(world.rank + 1, world.size)
    with joined(world, backend="gloo"):
        done = scored(predictor, options, shard)
        if world.size > 1:
            done = replace(done, found=gathered(done.found))
    if not world.first:
        return None
    show(done.found)
    part = {"shard": options.shard} if options.shard else {}
    save_json(json, {**part, **done.settings, **done.found.to_json()})
    return done


def scored(predictor: Predictor, options: ScoreOptions, shard: Shard) -> Scored:
    """The scores of one shard. Raises FeatalignError."""
    samples = open_samples(predictor, options)
    found = evaluate(
        predictor,
        samples,
        boundary_widths=parse_widths(options.boundary),
        metrics=[name for name in options.metrics.split(",") if name],
        input_size=parse_size(options.input_size),
        rank=shard.index - 1,
        ranks=shard.count,
        workers=options.workers,
        progress=progress,
    )
    settings = settings_of(
        predictor,
        split=options.split,
        layout=options.layout,
        layout_options=options.layout_options,
        input_size=options.input_size,
    )
    return Scored(predictor, samples, found, settings)


def join(parts: list[Path], *, json: Path | None) -> None:
    """Show and save what several shards add up to. Raises DataError."""
    contents = [read_content(path) for path in parts]
    settings = [settings_in(content) for content in contents]
    for path, other in zip(parts, settings, strict=True):
        if names := differing(settings[0], other):
            raise DataError(f"{path} was scored otherwise than {parts[0]}: {', '.join(names)}")
    found = merged(read_evaluation(path, content) for path, content in zip(parts, contents, strict=True))
    _require_all([str(content.get("shard", "1/1")) for content in contents])
    show(found)
    save_json(json, {**settings[0], **found.to_json()})


def _require_all(texts: list[str]) -> None:
    """Raises DataError unless these are all the shards of a split."""
    shards = [Shard.parse(text) for text in texts]
    counts = {shard.count for shard in shards}
    if len(counts) > 1:
        raise DataError(f"shards of different divisions do not add up: {', '.join(texts)}")
    if missing := set(range(1, counts.pop() + 1)) - {shard.index for shard in shards}:
        raise DataError(f"shards are missing: {', '.join(f'{i}/{shards[0].count}' for i in sorted(missing))}")


def open_samples(predictor: Predictor, options: ScoreOptions) -> SegmentationDataset:
    """The split as the predictor's model reads it. Raises FeatalignError."""
    return open_dataset(
        options.data,
        options.split,
        layout=options.layout,
        options=parse_settings(options.layout_options),
        channels=predictor.model.in_channels,
        depth=predictor.depth,
        max_pixels=predictor.max_pixels,
        on_error=options.on_error,
    )


def read_content(path: Path) -> dict[str, Any]:
    """A file of scores as it is. Raises DataError, also for those of a network that finds objects."""
    content = read_json(path, error=DataError, expected="what `featalign eval --json` writes")
    if "counts" not in content and content.keys() & {"bbox", "all"}:
        raise DataError(
            f"{path}: holds the scores of a network that finds objects; only those of networks that label pixels are "
            "compared and joined"
        )
    return content


def read_evaluation(path: Path, content: dict[str, Any]) -> Evaluation:
    """The evaluation in the content of ``path``. Raises DataError."""
    try:
        return Evaluation.from_json(content)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
