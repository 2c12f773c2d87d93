"""The table of what each fuse brought detectors of nuclei, made from the result files of `instances.py`.

python benchmarks/instances_page.py docs/detection.md benchmarks/results/instances-mask.json …-faster.json
"""

from __future__ import annotations

import json
import statistics
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from evidence import difference, spread, table

MARKS = "<!-- instances: begin -->", "<!-- instances: end -->"
BASE = "add"
NAMES = {"mask": "Mask R-CNN", "faster": "Faster R-CNN"}
SCORES = {
    "box AP": ("bbox", "ap"),
    "box AP50": ("bbox", "ap50"),
    "mask AP": ("segm", "ap"),
    "mask AP50": ("segm", "ap50"),
}


def page(content: dict[str, Any]) -> str:
    """A detector's scores at the end of training by fuse, and differences from plain addition over the seeds."""
    rows: dict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
    for run in content["runs"]:
        rows[run["fuse"]][run["seed"]] = run
    last = {fuse: {seed: run["curve"][-1] for seed, run in seeds.items()} for fuse, seeds in rows.items()}
    shown = {name: place for name, place in SCORES.items() if place[0] in next(iter(last[BASE].values()))}
    lines = [
        [
            f"`{fuse}`",
            str(len(seeds)),
            f"{next(iter(rows[fuse].values()))['parameters'] / 1e6:.2f}",
            f"{statistics.median(end['seconds'] for end in seeds.values()):.0f}",
            *(spread(end[kind][name] for end in seeds.values()) for kind, name in shown.values()),
        ]
        for fuse, seeds in last.items()
    ]
    iterations = next(iter(last[BASE].values()))["iteration"]
    title = f"{NAMES[content['detector']]}, {iterations} iterations"
    best = "mask AP" if "mask AP" in shown else "box AP"
    kind, name = shown[best]
    claims = [
        [
            f"`{fuse}` - `{BASE}`",
            *difference([seeds[seed][kind][name] - last[BASE][seed][kind][name] for seed in sorted(seeds)]),
        ]
        for fuse, seeds in last.items()
        if fuse != BASE
    ]
    header = ["fuse", "seeds", "M parameters", "seconds", *shown]
    return "\n".join([f"**{title}**", "", table(header, lines), "", table(["", best, "by seed"], claims)])


def main(target: Path, *stores: Path) -> None:
    before, rest = target.read_text().split(MARKS[0])
    made = "\n\n".join(page(json.loads(store.read_text())) for store in stores)
    target.write_text(f"{before}{MARKS[0]}\n{made}\n{MARKS[1]}{rest.split(MARKS[1])[1]}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
