"""What alignment brought on CamVid, in one table, made from the result files of `camvid.py`.

    python benchmarks/summary.py README.md docs/evidence.md

What lies between the marks of each page is replaced. Differences are in points, with the 95 % interval of Student's t
over the seeds; bold where it leaves out 0.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

from evidence import SCORES, Rows, interval, read, table

RESULTS = Path(__file__).parent / "results"
STARTS = {
    "from scratch": {"short": "camvid-short"},
    "from ImageNet weights": {
        "short": "camvid-pretrained",
        "medium": "camvid-pretrained-medium",
        "published": "camvid-pretrained-published",
        "large": "camvid-pretrained-published-large",
    },
}
"""Result files by the training: short, three times as long, by the optimizer and losses of IFA's paper, and that with
larger crops and a wider decoder."""


class Claim(NamedTuple):
    """A row against another; ``published``: what the paper has for it on Cityscapes, mIoU and, of FaPN, within 3 px."""

    title: str
    row: str
    other: str
    published: str = ""
    training: str = "short"


CLAIMS = [
    Claim("IFA, against bilinear resampling", "ifa", "bilinear", "+1.5 (IFA, Table 1)"),
    Claim("the same, after 3,000 iterations", "ifa", "bilinear", training="medium"),
    Claim("the same, with the optimizer and the losses of the paper", "ifa", "bilinear", training="published"),
    Claim("and with larger crops and a decoder of twice the width", "ifa", "bilinear", training="large"),
    Claim(
        "IFA with blended codes and points near boundaries, against bilinear resampling",
        "ifa_blended_boundary",
        "bilinear",
    ),
    Claim("the same, after 3,000 iterations", "ifa_blended_boundary", "bilinear", training="medium"),
    Claim("AlignFA, against plain addition", "alignfa", "fpn_add"),
    Claim("of that, its offsets", "alignfa", "alignfa_none", "+1.1 (AlignSeg, Table 2)"),
    Claim("FaPN, against plain addition", "fapn", "fpn_add", "+2.6, +2.3 (FaPN, Tables 1, 2)"),
    Claim("of that, its offsets", "fapn", "fapn_none"),
    Claim("FaPN whose offsets learn at a tenth of the rate, against plain addition", "fapn_slow_offsets", "fpn_add"),
    Claim("of that, its offsets", "fapn_slow_offsets", "fapn_none"),
    Claim(
        "IFA with blended codes, behind FaPN's pathway without offsets, against bilinear resampling alone",
        "fapn_none_then_ifa",
        "bilinear",
    ),
    Claim("of that, IFA", "fapn_none_then_ifa", "fapn_none_then_bilinear"),
    Claim("FaPN's pathway without offsets, points near boundaries against the grid", "fapn_none_boundary", "fapn_none"),
]
SEEDS = 3
"""What a row must have to stand here."""
BEGIN, END = "<!-- camvid-summary: begin -->", "<!-- camvid-summary: end -->"


def summary() -> str:
    """The table."""
    header = ["", "published", *(f"{start}: {score}" for start in STARTS for score in ("mIoU", "within 3 px"))]
    lines = []
    for claim in CLAIMS:
        names = [files.get(claim.training) for files in STARTS.values()]
        stores = [read(RESULTS / f"{name}.jsonl") if name else {} for name in names]
        cells = [_cell(rows, claim, score) for rows in stores for score in SCORES]
        lines.append([claim.title, claim.published, *cells])
    return table(header, lines)


def _cell(rows: Rows, claim: Claim, name: str) -> str:
    score, pair = SCORES[name], (claim.row, claim.other)
    shared = sorted(rows.get(claim.row, {}).keys() & rows.get(claim.other, {}).keys())
    tests = [tuple(rows[row][seed]["test"]["480x360"] for row in pair) for seed in shared]
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
