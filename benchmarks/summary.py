"""What alignment brought on CamVid, in one table, made from the result files of `camvid.py`.

    python benchmarks/summary.py README.md docs/evidence.md

What lies between the marks of each page is replaced. Differences are in points, with the 95 % interval of Student's t
over the seeds; bold where it leaves out 0.
"""

from __future__ import annotations

import sys
from pathlib import Path

from evidence import SCORES, Rows, interval, read, table

RESULTS = Path(__file__).parent / "results"
STARTS = {"from scratch": "camvid-short", "from ImageNet weights": "camvid-pretrained"}
CLAIMS = [
    ("IFA, against bilinear resampling", "ifa", "bilinear"),
    ("IFA with blended codes and points near boundaries, against the same", "ifa_blended_boundary", "bilinear"),
    ("AlignFA, against plain addition", "alignfa", "fpn_add"),
    ("of that, its offsets", "alignfa", "alignfa_none"),
    ("FaPN, against plain addition", "fapn", "fpn_add"),
    ("of that, its offsets", "fapn", "fapn_none"),
    ("FaPN whose offsets learn at a tenth of the rate, against plain addition", "fapn_slow_offsets", "fpn_add"),
    ("of that, its offsets", "fapn_slow_offsets", "fapn_none"),
]
SEEDS = 3
"""What a row must have to stand here."""
BEGIN, END = "<!-- camvid-summary: begin -->", "<!-- camvid-summary: end -->"


def summary() -> str:
    """The table."""
    stores = {start: read(RESULTS / f"{name}.jsonl") for start, name in STARTS.items()}
    header = ["", *(f"{start}: {score}" for start in stores for score in ("mIoU", "within 3 px"))]
    lines = [
        [title, *(_cell(rows, row, other, i) for rows in stores.values() for i in range(len(SCORES)))]
        for title, row, other in CLAIMS
    ]
    return table(header, lines)


def _cell(rows: Rows, row: str, other: str, which: int) -> str:
    score = list(SCORES.values())[which]
    shared = sorted(rows.get(row, {}).keys() & rows.get(other, {}).keys())
    tests = [tuple(rows[name][seed]["test"]["480x360"] for name in (row, other)) for seed in shared]
    if len(tests) < SEEDS:
        return ""
    mean, reach = interval([100 * (score(one) - score(two)) for one, two in tests])
    shown = f"{mean:+.1f} ± {reach:.1f}"
    return f"**{shown}**" if abs(mean) > reach else shown


def main(*pages: Path) -> None:
    for page in pages:
        before, rest = page.read_text().split(BEGIN)
        page.write_text(f"{before}{BEGIN}\n{summary()}\n{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
