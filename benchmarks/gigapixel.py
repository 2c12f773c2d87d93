"""An image of a gigapixel, segmented in memory that does not depend on its size.

    python benchmarks/gigapixel.py runs/first --folder /tmp/giga --side 32768 --max-memory 1GiB --precision bf16

Draws ``side x side`` pixels of street scenes as a GeoTIFF, tile by tile, if FOLDER has none yet; segments them by
`predict_raster`; prints how long that took and the peak of resident memory above what the process held
with the model loaded. A killed run is taken up again by the same command: the time is then that of the blocks left.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

import featalign
from featalign.cli.options import parse_bytes
from featalign.data.scenes import SceneDataset
from featalign.files import atomic_path
from featalign.inference import Predictor, predict_raster

TILE = 1024
SCENES = 64


def draw(path: Path, side: int) -> None:
    """Scenes side by side, each TILE pixels wide, in a random order and mirrored at random."""
    import rasterio

    scenes, drawn = SceneDataset(SCENES, (TILE, TILE), seed=3), np.random.default_rng(3)
    pictures = [scenes.scene(i).image((TILE, TILE), supersample=1).transpose(2, 0, 1) for i in range(SCENES)]
    lies = {"crs": "EPSG:32633", "transform": rasterio.transform.from_origin(400_000, 5_800_000, 0.1, 0.1)}
    shape = {"driver": "GTiff", "height": side, "width": side, "count": 3, "dtype": "uint8"}
    stored = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate", "zlevel": 1, "predictor": 2}
    with atomic_path(path) as temporary, rasterio.open(temporary, "w", **shape, **stored, **lies) as file:
        for top in range(0, side, TILE):
            for left in range(0, side, TILE):
                picture = pictures[drawn.integers(SCENES)][:, :, :: drawn.choice((-1, 1))]
                height, width = min(TILE, side - top), min(TILE, side - left)
                place = (top, top + height), (left, left + width)
                file.write(picture[:, :height, :width], window=place)


class Blocks:
    """Counts and times the blocks of a run, and says so from time to time; a ``Progress``."""

    def __init__(self) -> None:
        self.done = self.total = 0
        self.seconds: list[float] = []

    def __call__(self, items: Iterable[Any], *, total: int, description: str) -> Iterator[Any]:
        self.total = total
        for item in items:
            start = time.monotonic()
            yield item
            spent = time.monotonic() - start
            if spent > 0.05:  # it was not finished before
                self.seconds.append(spent)
            self.done += 1
            if self.done % 10 == 0:
                print(f"{self.done} of {total} blocks, {resident('VmRSS') >> 20} MiB", flush=True)


def resident(name: str) -> int:
    """Bytes of VmRSS (now) or VmHWM (at most since the last reset)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(name))


def reset_peak() -> None:
    """Let VmHWM begin again."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a training run or model folder")
    parser.add_argument("--folder", type=Path, required=True, help="gets the image and the answer")
    parser.add_argument("--side", type=int, default=32768)
    parser.add_argument("--max-memory", default="1GiB")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--mode", default="auto")
    parser.add_argument("--margin", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    image = options.folder / f"scenes-{options.side}.tif"
    if not image.is_file():
        drawing = multiprocessing.get_context("spawn").Process(target=draw, args=(image, options.side))
        drawing.start()
        drawing.join()
    torch.set_num_threads(options.threads)
    predictor = Predictor(
        featalign.load(options.model),
        precision=options.precision,
        mode=options.mode,
        max_memory=parse_bytes(options.max_memory),
    )
    with torch.inference_mode():  # what the libraries hold once they have run at all
        predictor.labels(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))
    labels, blocks = options.folder / f"labels-{options.side}.tif", Blocks()
    reset_peak()
    before, start, spent = resident("VmRSS"), time.monotonic(), time.process_time()
    predict_raster(
        predictor,
        image,
        labels,
        margin=options.margin,
        preview=options.folder / f"preview-{options.side}.png",
        resume=True,
        progress=blocks,
    )
    found = {
        "pixels": options.side**2,
        "blocks": blocks.total,
        "blocks_of_this_run": len(blocks.seconds),
        "seconds": round(time.monotonic() - start, 1),
        "process_seconds": round(time.process_time() - spent, 1),
        "seconds_in_blocks": round(sum(blocks.seconds), 1),
        "model_mib": before >> 20,
        "peak_above_model_mib": (resident("VmHWM") - before) >> 20,
        "image_mib": image.stat().st_size >> 20,
        "labels_mib": round(labels.stat().st_size / 2**20, 1),
    }
    print(json.dumps(found, indent=1))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
