"""The page about what alignment brought on CamVid, made from the result files of `camvid.py`.

    python benchmarks/evidence.py benchmarks/results/camvid-short.jsonl docs/evidence.md

What lies between the page's two marks of that file is replaced, and so are the two charts beside it. A difference is
printed bold where its 95 % interval by Student's t over the seeds that both rows share leaves out 0.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from camvid import ROWS
from charts import Line, chart

BASE = "bilinear"
PAIRS = [  # a row, and the one that it varies (another fuse, head, question, precision), or a peer
    ("alignfa", "alignfa_none"),
    ("alignfa", "fpn_add"),
    ("alignfa_none", "fpn_add"),
    ("alignfa", "smp_fpn"),
    ("alignfa_boundary", "alignfa"),
    ("fapn", "fapn_none"),
    ("fapn_slow_offsets", "fapn_none"),
    ("fapn_slow_offsets", "fapn"),
    ("fapn_slow_offsets", "fpn_add"),
    ("fapn_slow_offsets", "smp_fpn"),
    ("fapn", "fapn_no_fsm"),
    ("fapn", "fpn_add"),
    ("fapn_none", "fpn_add"),
    ("fapn", "smp_fpn"),
    ("fapn", "alignfa"),
    ("fapn_points", "fapn"),
    ("fapn_none_boundary", "fapn_none"),
    ("fapn_none_then_bilinear", "fapn_none"),
    ("fapn_none_then_bilinear", "fapn_none_boundary"),
    ("fapn_none_then_ifa", "fapn_none"),
    ("fapn_none_then_ifa", "fapn_none_boundary"),
    ("fapn_none_then_ifa", "fapn_none_then_bilinear"),
    ("fapn_none_then_ifa_octaves3", "fapn_none_then_ifa"),
    ("fapn_none_then_ifa_octaves3", "fapn_none_then_bilinear"),
    ("fapn_none_boundary", "smp_fpn"),
    ("fapn_none_then_ifa", "ifa_blended_boundary"),
    ("fapn_none_then_ifa", "smp_fpn"),
    ("fapn_none_then_bilinear", "smp_fpn"),
    ("fapn_then_ifa", "fapn_then_bilinear"),
    ("fapn_then_ifa", "fapn_slow_offsets"),
    ("bilinear_boundary", "bilinear_mixed"),
    ("ifa_blended", "ifa"),
    ("ifa_blended", "bilinear_mixed"),
    ("ifa_blended_boundary", "ifa_blended"),
    ("ifa_blended_boundary", "bilinear_boundary"),
    ("ifa_blended_annealed", "ifa_blended"),
    ("ifa_blended_points", "ifa_blended"),
    ("ifa", "ifa_cross_entropy"),
    ("ifa_class_weights", "ifa"),
    ("ifa_ema", "ifa"),
    ("ifa_fp32", "bilinear_fp32"),
    ("ifa_fp32", "ifa"),
    ("bilinear_fp32", "bilinear"),
    ("ifa_stride64", "bilinear_stride64"),
    ("ifa_stride128", "bilinear_stride128"),
    ("deeplabv3plus_ifa", "deeplabv3plus"),
    ("pspnet_ifa", "pspnet"),
]
WIDTHS = ("3", "5", "8", "12")
QUANTILES = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78}  # of Student's t at 97.5 %, by the number of seeds

Rows = dict[str, dict[int, dict[str, Any]]]
Test = dict[str, Any]


def read(store: Path) -> Rows:
    """Results by row, in the benchmark's order, and seed."""
    rows: Rows = defaultdict(dict)
    for line in map(json.loads, store.read_text().splitlines()):
        rows[line["row"]][line["seed"]] = line
    return {row: rows[row] for row in ROWS if row in rows}


def spread(values: Iterable[float], *, scale: float = 100) -> str:
    """Mean and sample standard deviation, in percent."""
    found = [scale * value for value in values]
    mean = f"{statistics.mean(found):.2f}"
    return f"{mean} ± {statistics.stdev(found):.2f}" if len(found) > 1 else mean


def table(header: list[str], lines: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in [header, ["---"] * len(header), *lines])


def networks(rows: Rows) -> str:
    """Size, speed and scores at 480x360."""
    lines = []
    for row, seeds in rows.items():
        one, tests = next(iter(seeds.values())), [found["test"]["480x360"] for found in seeds.values()]
        lines.append(
            [
                f"`{row}`",
                str(len(seeds)),
                f"{one['parameters'] / 1e6:.2f}",
                f"{one['multiply_adds'] / 1e9:.2f}",
                f"{statistics.median(found['latency'] for found in seeds.values()):.2f}",
                spread(found["val"]["miou"] for found in seeds.values()),
                spread(test["miou"] for test in tests),
                spread(test["pixel_accuracy"] for test in tests),
                *(spread(test["bands"][width] for test in tests) for width in WIDTHS),
            ]
        )
    bands = [f"{width} px" for width in WIDTHS]
    header = ["row", "seeds", "M parameters", "G multiply-adds", "time", "val mIoU", "test mIoU", "accuracy", *bands]
    return table(header, lines)


def precisions(rows: Rows) -> list[str]:
    """Which rows were not trained in bf16, and which with position codes in bf16, as all were once.

    Lines without a precision are of when there was no other.
    """
    told = (
        ("Trained in fp32, all others in bf16", "precision", "fp32"),
        ("Trained with position codes rounded to bf16", "codes", "bf16"),
    )
    found = [
        (title, [row for row, seeds in rows.items() if any(one.get(key) == value for one in seeds.values())])
        for title, key, value in told
    ]
    if len(found[0][1]) == len(rows):
        return ["\nAll rows were trained in fp32."]
    return [f"\n{title}: {', '.join(f'`{row}`' for row in names)}." for title, names in found if names]


def native(rows: Rows) -> str:
    """The same models at 960x720 from 480x360 inputs."""
    lines = []
    for row, seeds in rows.items():
        for key in next(iter(seeds.values()))["test"]:
            if key.startswith("960x720 "):
                tests = [found["test"][key] for found in seeds.values()]
                scores = [spread(test["miou"] for test in tests), spread(test["pixel_accuracy"] for test in tests)]
                bands = [spread(test["bands"][width] for test in tests) for width in WIDTHS]
                lines.append([f"`{row}`", key.removeprefix("960x720 "), *scores, *bands])
    return table(["row", "mode", "mIoU", "accuracy", *(f"{width} px" for width in WIDTHS)], lines)


def against_base(rows: Rows) -> list[str]:
    """What each row differs from the bilinear one, over the seeds that both have."""
    return _against(rows, [(row, BASE) for row in rows if row != BASE])


def against_siblings(rows: Rows) -> list[str]:
    """What each row differs from the one that it varies, or from a peer, over the seeds that both have."""
    return _against(rows, PAIRS)


def _against(rows: Rows, pairs: Iterable[tuple[str, str]]) -> list[str]:
    """At 480x360, of rows that share two seeds or more."""
    found = {}
    for row, other in pairs:
        shared = sorted(rows.get(row, {}).keys() & rows.get(other, {}).keys())
        if len(shared) > 1:
            tests = [(rows[row][seed]["test"], rows[other][seed]["test"]) for seed in shared]
            found[f"`{row}` - `{other}`"] = [(one["480x360"], two["480x360"]) for one, two in tests]
    return differences(found)


def finer(rows: Rows) -> list[str]:
    """What querying every pixel brought over the model's own resized stride-4 answer."""
    found = {}
    for row, seeds in rows.items():
        for size in ("960x720", "480x360"):
            tests = [one["test"] for one in seeds.values() if f"{size} dense" in one["test"]]
            found[f"`{row}` at {size}"] = [(test[f"{size} dense"], test[f"{size} resized"]) for test in tests]
    return differences(found)


def refined(rows: Rows) -> list[str]:
    """What querying a point head where the coarse answer is uncertain brought over that answer, resized."""
    found = {}
    for row, seeds in rows.items():
        tests = [one["test"] for one in seeds.values() if "960x720 adaptive" in one["test"]]
        for fine, coarse in (("480x360", "480x360 resized"), ("960x720 adaptive", "960x720 resized")):
            found[f"`{row}` at {fine.split()[0]}"] = [(test[fine], test[coarse]) for test in tests]
    return differences(found)


def scales(rows: Rows) -> list[str]:
    """What testing at several scales, mirrored too, brought over testing once."""
    found = {}
    for row, seeds in rows.items():
        tests = [one["test"] for one in seeds.values() if "480x360 scales" in one["test"]]
        found[f"`{row}`"] = [(test["480x360 scales"], test["480x360"]) for test in tests]
    return differences(found)


def differences(found: dict[str, list[tuple[Test, Test]]]) -> list[str]:
    """A table of what tests score above others, by seed; what has no tests is left out."""
    lines = [
        [title, *(cell for score in SCORES.values() for cell in difference([score(a) - score(b) for a, b in pairs]))]
        for title, pairs in found.items()
        if pairs
    ]
    return [table(["", *(title for name in SCORES for title in (name, "by seed"))], lines)] if lines else []


def difference(found: list[float]) -> tuple[str, str]:
    """In points: the mean with its 95 % interval, bold where that leaves out 0, and the values; of one, itself."""
    points = [100 * value for value in found]
    if len(points) < 2:
        return f"{points[0]:+.2f}", "one seed"
    mean, reach = interval(points)
    shown = f"{mean:+.2f} ± {reach:.2f}"
    return f"**{shown}**" if abs(mean) > reach else shown, ", ".join(f"{value:+.2f}" for value in points)


def interval(values: list[float]) -> tuple[float, float]:
    """Mean, and how far the 95 % interval of Student's t reaches from it."""
    error = statistics.stdev(values) / math.sqrt(len(values))
    return statistics.mean(values), QUANTILES[len(values)] * error


def _miou(test: Test) -> float:
    return float(test["miou"])


def _band(test: Test) -> float:
    return float(test["bands"]["3"])


SCORES = {"mIoU": _miou, "mIoU within 3 px": _band}


def charted(rows: Rows) -> Rows:
    """Those to draw: of as many seeds as the bilinear row, seeing the whole image at the usual strides."""
    return {
        row: seeds
        for row, seeds in rows.items()
        if len(seeds) >= len(rows[BASE]) and not row.endswith(("_half", "_stride64", "_stride128"))
    }


def bands(rows: Rows) -> dict[str, Line]:
    """Test mIoU at 480x360 over the width of the band around boundaries, means over the seeds."""
    tests = {row: [found["test"]["480x360"]["bands"] for found in seeds.values()] for row, seeds in rows.items()}
    return {
        row: [(int(width), 100 * statistics.mean(band[width] for band in found)) for width in WIDTHS]
        for row, found in tests.items()
    }


def learning(rows: Rows) -> dict[str, Line]:
    """Validation mIoU over the iterations, means over the seeds."""
    return {
        row: [
            (points[0][0], 100 * statistics.mean(miou for _, miou in points))
            for points in zip(*(found["curve"] for found in seeds.values()), strict=True)
        ]
        for row, seeds in rows.items()
    }


def page(rows: Rows, name: str) -> str:
    parts = [
        ("### At 480x360", [networks(rows), *precisions(rows)]),
        ("### At 960x720, from 480x360", [native(rows)]),
        ("### Against the bilinear row", against_base(rows)),
        ("### Against the nearest sibling, and a peer", against_siblings(rows)),
        ("### Querying every pixel", finer(rows)),
        ("### Refined at points", refined(rows)),
        ("### Testing at several scales", scales(rows)),
        ("### By the width of the band", [f"![test mIoU over the width of the band]({name}-bands.svg)"]),
        ("### Validation while training", [f"![validation mIoU over the iterations]({name}-learning.svg)"]),
    ]
    return "\n\n".join(f"{title}\n\n" + "\n".join(lines) for title, lines in parts if lines)


def main(store: Path, target: Path) -> None:
    rows = read(store)
    begin, end = (f"<!-- {store.stem}: {mark} -->" for mark in ("begin", "end"))
    before, rest = target.read_text().split(begin)
    target.write_text(f"{before}{begin}\n{page(rows, store.stem)}\n{end}{rest.split(end)[1]}")
    for name, lines, across in (
        ("bands", bands(charted(rows)), "width of the band around boundaries, pixels"),
        ("learning", learning(charted(rows)), "iterations"),
    ):
        target.with_name(f"{store.stem}-{name}.svg").write_text(chart(lines, across=across, up="mIoU, %"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
