"""The page about what alignment brought on CamVid, made from the result files of `camvid.py`.

    python benchmarks/evidence.py benchmarks/results/camvid-short.jsonl docs/evidence.md

What lies between the page's two marks of that file is replaced, and so are the two charts beside it. A difference is
called one only where its 95 % interval by Student's t over the seeds that both rows share leaves out 0.
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
PAIRS = [  # a row, and the one that it varies (another fuse, head, question in training), or a peer
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
    ("ifa_stride64", "bilinear_stride64"),
    ("ifa_stride128", "bilinear_stride128"),
    ("deeplabv3plus_ifa", "deeplabv3plus"),
    ("pspnet_ifa", "pspnet"),
]
WIDTHS = ("3", "5", "8", "12")
QUANTILES = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78}  # of Student's t at 97.5 %, by the number of seeds

Rows = dict[str, dict[int, dict[str, Any]]]


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
    return [line for row in rows if row != BASE for line in _against(rows, row, BASE)]


def against_siblings(rows: Rows) -> list[str]:
    """What each row differs from the one that it varies, or from a peer, over the seeds that both have."""
    return [line for row, sibling in PAIRS for line in _against(rows, row, sibling)]


def _against(rows: Rows, row: str, other: str) -> list[str]:
    shared = sorted(rows.get(row, {}).keys() & rows.get(other, {}).keys())
    if len(shared) < 2:
        return []
    tests = [(rows[row][seed]["test"]["480x360"], rows[other][seed]["test"]["480x360"]) for seed in shared]
    return [
        f"- `{row}` - `{other}`, {name}: {difference([score(one) - score(two) for one, two in tests])}"
        for name, score in (("mIoU", _miou), ("mIoU within 3 px of a boundary", _band))
    ]


def finer(rows: Rows) -> list[str]:
    """What querying every pixel brought over the model's own resized stride-4 answer."""
    lines = []
    for row, seeds in rows.items():
        for size in ("960x720", "480x360"):
            both = [found["test"] for found in seeds.values() if f"{size} dense" in found["test"]]
            for name, score in SCORES.items():
                found = [score(test[f"{size} dense"]) - score(test[f"{size} resized"]) for test in both]
                if found:
                    lines.append(f"- `{row}` at {size}, {name}: {difference(found)}")
    return lines


def refined(rows: Rows) -> list[str]:
    """What querying a point head where the coarse answer is uncertain brought over that answer, resized."""
    lines = []
    for row, seeds in rows.items():
        tests = [found["test"] for found in seeds.values() if "960x720 adaptive" in found["test"]]
        pairs = (("480x360", "480x360 resized"), ("960x720 adaptive", "960x720 resized"))
        for fine, coarse in pairs if tests else ():
            for name, score in SCORES.items():
                found = [score(test[fine]) - score(test[coarse]) for test in tests]
                lines.append(f"- `{row}` at {fine.split()[0]}, {name}: {difference(found)}")
    return lines


def scales(rows: Rows) -> list[str]:
    """What testing at several scales, mirrored too, brought over testing once."""
    lines = []
    for row, seeds in rows.items():
        tests = [found["test"] for found in seeds.values() if "480x360 scales" in found["test"]]
        for name, score in SCORES.items() if tests else ():
            found = [score(test["480x360 scales"]) - score(test["480x360"]) for test in tests]
            lines.append(f"- `{row}`, {name}: {difference(found)}")
    return lines


def difference(found: list[float]) -> str:
    """In points, with the verdict."""
    points = [100 * value for value in found]
    shown = ", ".join(f"{value:+.2f}" for value in points)
    if len(points) < 2:
        return f"{shown} (one seed: nothing can be claimed)"
    mean, reach = interval(points)
    verdict = "more" if mean > reach else "less" if mean < -reach else "no difference can be claimed"
    return f"{mean:+.2f} ± {reach:.2f} ({shown}): {verdict}"


def interval(values: list[float]) -> tuple[float, float]:
    """Mean, and how far the 95 % interval of Student's t reaches from it."""
    error = statistics.stdev(values) / math.sqrt(len(values))
    return statistics.mean(values), QUANTILES[len(values)] * error


def _miou(test: dict[str, Any]) -> float:
    return float(test["miou"])


def _band(test: dict[str, Any]) -> float:
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
