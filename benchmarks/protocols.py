"""What each test protocol scores, takes and needs: every one through `featalign eval`, in processes of its own.

    python benchmarks/protocols.py RUN --data camvid --out scores --shards 8
    OMP_NUM_THREADS=1 python benchmarks/protocols.py RUN --data camvid --out timed --shards 20 --first 1
    python benchmarks/protocols.py --out scores --timed timed

The first scores the whole split, in pieces that are kept: after an interruption the same command goes on. The second
times one image in twenty, on an idle machine. The third prints the table, as Markdown, of what both have.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

IFA, ALIGNSEG = "0.5,0.75,1,1.25,1.5,2", "0.75,1,1.25,1.5,1.75"
PROTOCOLS = {
    "resized": "--mode resized",
    "dense": "--mode dense",
    "adaptive": "--mode adaptive",
    "flip": "--mode resized --flip",
    "window": "--mode resized --window 256x256",
    "ifa": f"--mode resized --scales {IFA}",
    "ifaflip": f"--mode resized --scales {IFA} --flip",
    "alignsegflip": f"--mode resized --scales {ALIGNSEG} --flip",
}


def featalign(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "featalign", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


def score(asked: argparse.Namespace) -> None:
    """All pieces that are not there yet, and each protocol's pieces as one."""
    for name, options in PROTOCOLS.items():
        pieces = [asked.out / f"{name}-{i}of{asked.shards}.json" for i in range(1, (asked.first or asked.shards) + 1)]
        for i, piece in enumerate(pieces, start=1):
            if not piece.is_file():
                split = ("--data", asked.data, "--split", asked.split, "--shard", f"{i}/{asked.shards}")
                chosen = ("--device", "cpu", "--precision", asked.precision, *options.split())
                featalign("eval", asked.run, *split, *chosen, "--json", piece)
        featalign("merge-scores", *pieces, "--json", asked.out / f"{name}.json")


def show(scores: Path, timed: Path) -> None:
    """One row for each protocol that both folders have."""
    print("| options | images | mIoU | pixel accuracy | mIoU, 3 px | time per image | peak |")
    print("|---|---|---|---|---|---|---|")
    for name, options in PROTOCOLS.items():
        files = [folder / f"{name}.json" for folder in (scores, timed)]
        if not all(file.is_file() for file in files):
            continue
        found, cost = (json.loads(file.read_text()) for file in files)
        print(f"| `{options}` | {found['images']} | {_percents(found)} | {_cost(cost)} |")


def _percents(found: dict[str, Any]) -> str:
    values = (found["miou"], found["pixel_accuracy"], found["boundary"]["3px"]["miou"])
    return " | ".join(f"{100 * value:.2f}" for value in values)


def _cost(found: dict[str, Any]) -> str:
    return f"{found['seconds_per_image']:.2f} s | {found['peak_memory'] / 2**20:.0f} MiB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?", help="a training run or a model folder")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--out", type=Path, required=True, help="gets one JSON file for each piece and protocol")
    parser.add_argument("--shards", type=int, default=1, help="pieces of the split")
    parser.add_argument("--first", type=int, help="only so many of the pieces")
    parser.add_argument("--timed", type=Path, help="instead: print the table of --out and of this folder")
    asked = parser.parse_args()
    if asked.timed:
        show(asked.out, asked.timed)
    else:
        asked.out.mkdir(parents=True, exist_ok=True)
        score(asked)


if __name__ == "__main__":
    main()
