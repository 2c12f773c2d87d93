"""The `compare` command's work: two networks, or what `eval` wrote of them, side by side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from featalign.cli.console import err, out, parse_size, percent, progress, save_json, table
from featalign.cli.scoring import ScoreOptions, open_samples, read_content, read_evaluation, scored
from featalign.cli.settings import SETTINGS, Settings, differing, settings_in
from featalign.doctor import versions
from featalign.errors import ConfigError
from featalign.export.exported import is_exported
from featalign.files import write_atomically
from featalign.inference import Evaluation, Predictor
from featalign.inference.listing import Shard
from featalign.reports import Compared, Comparison, Rerun, compare, comparison_report, examples
from featalign.reports.page import between, signed

SCORES, PAGE = "comparison.json", "comparison.html"


@dataclass(frozen=True)
class Side:
    """A network: what it scored, how, and, where there is data, what predicts it again."""

    name: str
    found: Evaluation
    settings: Settings
    rerun: Rerun | None


def run_comparison(
    sources: tuple[Path, Path],
    folder: Path,
    options: ScoreOptions | None,
    load: Callable[[Path], Predictor],
    again: Callable[[Path, Settings], Predictor],
    *,
    resamples: int,
    pictures: int,
) -> None:
    """Score what is not scored yet, compare, show, write. Raises FeatalignError.

    Args:
        sources: of A and B: a run, an exported network, or a file of scores.
        folder: gets both files.
        options: the data and how to score it; None without data.
        load: a run as the options have it.
        again: a run as a file of scores says that it was scored.
        resamples: of the bootstrap.
        pictures: how many images to show, if there is data.
    """
    sides = [_side(source, options, load, again) for source in sources]  # both, before the first is scored for long
    a, b = (side() for side in sides)
    found = compare(a.found, b.found, resamples=resamples)
    show(found, (a.name, b.name))
    shown = _look(a, b, found, pictures)
    about = _settings(a, b) | {"resamples": resamples}
    page = comparison_report(found, names=(a.name, b.name), settings=about, versions=versions(), shown=shown)
    content = {"a": a.name, "b": b.name, "settings": about, "versions": versions(), **found.to_json()}
    content["regions"] = {one.example.name: one.to_json() for one in shown}
    save_json(folder / SCORES, content)
    write_atomically(folder / PAGE, page)
    out.print(f"{SCORES} and {PAGE} written to {folder}")


def show(found: Comparison, names: tuple[str, str]) -> None:
    """Both runs, the difference, its interval and what may be said, score by score."""
    for letter, name in zip("AB", names, strict=True):
        out.print(f"{letter}  {name}")
    rows = [
        (
            row.name,
            percent(row.a),
            percent(row.b),
            signed(row.interval.difference),
            between(row.interval.low, row.interval.high),
            row.verdict,
        )
        for row in (*found.classes, *found.scores)
    ]
    confidence = 100 * found.scores[0].interval.confidence
    table(rows, header=("", "A", "B", "A − B", f"{confidence:g} % interval", ""))
    if found.warning:
        err.print(f"warning: {found.warning}")
    out.print(f"{found.a.images} images, drawn again with replacement; the luck of the training seed is not in it")


def _side(
    source: Path,
    options: ScoreOptions | None,
    load: Callable[[Path], Predictor],
    again: Callable[[Path, Settings], Predictor],
) -> Callable[[], Side]:
    """What gives the side; all that could be wrong with the source itself is raised here."""
    if source.is_file() and not is_exported(source):
        before = _scored_before(source, options, again)
        return lambda: before
    if options is None:
        raise ConfigError(f"--data is needed to score {source}; without it, give what `featalign eval --json` wrote")
    return partial(_scored_now, source, load(source), options)


def _scored_now(source: Path, predictor: Predictor, options: ScoreOptions) -> Side:
    err.print(f"scoring {source}")
    done = scored(predictor, options, Shard(1, 1))
    rerun = Rerun(done.predictor, done.samples, parse_size(options.input_size))
    return Side(str(source), done.found, done.settings, rerun)


def _scored_before(path: Path, options: ScoreOptions | None, again: Callable[[Path, Settings], Predictor]) -> Side:
    """A file of scores. With data, the run that it names predicts again, as it did."""
    content = read_content(path)
    found = read_evaluation(path, content)
    settings = settings_in(content)
    name = content.get("run", str(path))
    if options is None:
        return Side(name, found, settings, None)
    if missing := {"run", *SETTINGS} - content.keys():
        raise ConfigError(
            f"{path} does not say which run it is of and how it was scored (no {', '.join(sorted(missing))}); compare "
            "without --data, or give the run itself"
        )
    return Side(name, found, settings, _rerun(again(Path(content["run"]), settings), settings, options))


def _rerun(predictor: Predictor, settings: Settings, options: ScoreOptions) -> Rerun:
    """A run as it was scored, on the data that are given now."""
    chosen = {name: settings[name] for name in ("split", "layout", "layout_options", "input_size")}
    return Rerun(predictor, open_samples(predictor, replace(options, **chosen)), parse_size(settings["input_size"]))


def _settings(a: Side, b: Side) -> Settings:
    """What both share under its name, what they do not under A and B."""
    apart = differing(a.settings, b.settings)
    shared = {name: value for name, value in a.settings.items() if name not in apart}
    told = {f"{name} of {run}": side.settings.get(name) for name in apart for run, side in (("A", a), ("B", b))}
    return {"A": a.name, "B": b.name, **shared, **told}


def _look(a: Side, b: Side, found: Comparison, pictures: int) -> list[Compared]:
    """The images that differ most, predicted again by both."""
    if a.rerun is None or b.rerun is None:
        return []
    names = [image.name for image in found.images[:pictures] if image.share > 0]
    looked = examples(names, [a.rerun, b.rerun])
    return [Compared.of(one, found.a.classes) for one in progress(looked, total=len(names), description="drawing")]
