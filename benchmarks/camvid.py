"""Does alignment pay? Every aligner, and peers, trained and tested on CamVid under one recipe.

    python benchmarks/camvid.py short --data camvid-480/camvid --full camvid-full/camvid --runs runs/evidence
    python benchmarks/camvid.py short … --rows bilinear ifa --seeds 0 1 2      # these, in this order
    python benchmarks/camvid.py pretrained …                                   # an ImageNet backbone, out of a package

One line per row and seed is appended to benchmarks/results/camvid-BUDGET.jsonl as it finishes; what is there is not run
again, and a run that was killed goes on from its checkpoint. The checkpoint is chosen on `val`; `test` is scored once,
at 480x360 and, from the same 480x360 inputs, at 960x720 against the masks of that size. `evidence.py` makes the page.

Our networks are tested as all rows were, on images that are not filled up to whole cells; `filling.py` tells what that
changes.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from pathlib import Path
from typing import Any

import imagenet
import peers
import torch
from torch.utils.flop_counter import FlopCounterMode

import featalign
from featalign.data import open_dataset
from featalign.inference import Evaluation, Predictor, evaluate
from featalign.models import Segmentor
from featalign.models.pointrend import PointRefined
from featalign.training import Recipe
from featalign.training.run import build_model, train

RESULTS = Path(__file__).parent / "results"
SIZE = (360, 480)

MLP = {"hidden": [128, 64]}
BLENDED = {**MLP, "blend": "bilinear"}
ROWS: dict[str, dict[str, Any]] = {
    "nearest": {"name": "fpn", "align": "nearest", "options": MLP},
    **{
        name: {"name": "fpn", "align": "bilinear", "options": MLP}
        for name in ("bilinear", "bilinear_mixed", "bilinear_boundary", "bilinear_half", "bilinear_fp32")
    },
    "deconvolution": {"name": "fpn", "align": "deconvolution", "options": MLP},
    "upsampling": {"name": "fpn", "align": "upsampling", "options": MLP},
    "carafe": {"name": "fpn", "align": "carafe", "options": MLP},
    "ifa": {"name": "fpn", "align": "ifa", "options": MLP},
    "ifa_star": {"name": "fpn", "align": "ifa", "aspp": 64, "options": MLP},
    **{
        f"ifa_blended{how}": {"name": "fpn", "align": "ifa", "options": BLENDED}
        for how in ("", "_boundary", "_annealed", "_points", "_half")
    },
    **{
        name: {"name": "fpn", "align": "ifa", "options": MLP}
        for name in ("ifa_cross_entropy", "ifa_class_weights", "ifa_ema", "ifa_fp32")
    },
    "fpn_add": {"name": "semantic_fpn", "align": "nearest"},
    "sfnet": {"name": "sfnet"},
    "alignfa_none": {"name": "semantic_fpn", "align": "alignfa_none"},
    **{name: {"name": "semantic_fpn", "align": "alignfa"} for name in ("alignfa", "alignfa_boundary")},
    **{name: {"name": "semantic_fpn", "align": name} for name in ("fapn_none", "fapn_no_fsm", "fapn")},
    "fapn_slow_offsets": {"name": "semantic_fpn", "align": "fapn"},
    "fapn_points": {"name": "semantic_fpn", "align": "fapn", "options": {"point_head": True}},
    **{
        f"{fuse}_then_{align}": {"name": "fpn", "align": align, "options": {**BLENDED, "pathway": fuse}}
        for fuse in ("fapn_none", "fapn")
        for align in ("bilinear", "ifa")
    },
    "fapn_none_then_ifa_octaves3": {
        "name": "fpn",
        "align": "ifa",
        "options": {**BLENDED, "pathway": "fapn_none", "octaves": 3},
    },
    "fapn_none_boundary": {"name": "semantic_fpn", "align": "fapn_none"},
    "fapn_realtime": {"name": "fapn_realtime", "width": None},
    "alignseg": {"name": "alignseg"},
    "deeplabv3plus": {"name": "deeplabv3plus", "align": "bilinear"},
    "deeplabv3plus_ifa": {"name": "deeplabv3plus", "align": "ifa", "options": MLP},
    "pspnet": {"name": "pspnet", "align": "bilinear"},
    "pspnet_ifa": {"name": "pspnet", "align": "ifa", "options": MLP},
    "smp_fpn": {"name": "smp_fpn", "width": None},
    "smp_deeplabv3plus": {"name": "smp_deeplabv3plus", "width": None},
    "smp_upernet": {"name": "smp_upernet", "width": None},
    **{
        f"{align}_stride{32 * extra}": {"name": "fpn", "align": align, "options": {**MLP, "extra_stride": extra}}
        for extra in (2, 4)
        for align in ("bilinear", "ifa")
    },
}
TRAINING: dict[str, dict[str, Any]] = {
    "ifa_blended": {"query": "mixed"},
    "ifa_blended_boundary": {"query": "mixed", "boundary_share": 0.5},
    "ifa_blended_annealed": {"query": "mixed", "anneal_position": 0.5},
    "ifa_blended_points": {"query": "points"},
    "fapn_points": {"query": "uncertain"},
    "fapn_slow_offsets": {"query": "grid", "offset_lr_multiplier": 0.1},
    **{
        f"{fuse}_then_{align}": {"query": "mixed", "boundary_share": 0.5, "offset_lr_multiplier": rate}
        for fuse, rate in (("fapn_none", 1.0), ("fapn", 0.1))
        for align in ("bilinear", "ifa")
    },
    **{
        name: {"query": "mixed", "boundary_share": 0.5, "precision": "fp32"}
        for name in ("fapn_none_then_ifa_octaves3", "fapn_none_boundary")
    },
    "bilinear_half": {"input_scale": 0.5},
    "bilinear_mixed": {"query": "mixed"},
    "bilinear_boundary": {"query": "mixed", "boundary_share": 0.5},
    "alignfa_boundary": {"query": "mixed", "boundary_share": 0.5},
    "ifa_blended_half": {"query": "mixed", "input_scale": 0.5},
    "ifa_ema": {"query": "grid", "ema": 0.99},
    **{name: {"query": "grid", "precision": "fp32"} for name in ("ifa_fp32", "bilinear_fp32")},
}
LOSS: dict[str, dict[str, Any]] = {
    "ifa_cross_entropy": {"main": "cross_entropy"},
    "ifa_class_weights": {"class_weights": "balanced"},
}
"""What differs from row to row: the model, where it is asked in training, the average of weights, the precision
whatever the other rows are trained in, the loss."""

SEVERAL_SCALES = ("ifa_cross_entropy", "ifa_class_weights", "ifa_ema")
"""Rows that are tested at several scales and mirrored too: seven times the work of a test."""

SHORT: dict[str, Any] = {
    "backbone": "resnet18",
    "width": 64,
    "data": {"crop": 192, "cache": True, "workers": 1, "jitter": 0.5, "scales": [0.5, 1.5]},
    "training": {
        "iterations": 1000,
        "batch": 8,
        "optimizer": "adamw",  # farther in so few iterations than SGD
        "lr": 0.001,
        "weight_decay": 0.01,
        "warmup": 50,
        "validate_every": 500,
    },
}
PRETRAINED: dict[str, Any] = {
    **SHORT,
    "backbone": imagenet.BACKBONE,
    "training": {**SHORT["training"], "lr": 0.0001, "head_lr_multiplier": 10.0},
}
PUBLISHED: dict[str, Any] = {
    **SHORT,
    "backbone": imagenet.BACKBONE,
    "data": {**SHORT["data"], "jitter": 0.0, "scales": [0.5, 2.0]},
    "training": {
        "iterations": 1000,
        "batch": 8,
        "optimizer": "sgd",
        "lr": 0.01,
        "head_lr_multiplier": 10.0,
        "momentum": 0.9,
        "weight_decay": 0.0005,
        "decay_norms": True,
        "schedule": "poly",
        "power": 0.9,
        "validate_every": 500,
    },
    "loss": {"auxiliary_weight": 0.4},
}
"""Learns as IFA's paper and its code have it, but for the crop, the batch, the width and the length."""

BUDGETS: dict[str, dict[str, Any]] = {
    "short": SHORT,  # ten minutes per row on one CPU core with bf16
    "medium": {**SHORT, "training": {**SHORT["training"], "iterations": 3000}},  # half an hour
    "pretrained": PRETRAINED,  # with ImageNet weights that come as a package
    "pretrained-medium": {
        **PRETRAINED,
        "training": {**PRETRAINED["training"], "iterations": 3000, "validate_every": 1000},
    },
    "pretrained-published": PUBLISHED,
    "pretrained-published-large": {  # crops near the whole image, a decoder of twice the width; as many pixels seen
        **PUBLISHED,
        "width": 128,
        "hidden": [256, 128],
        "data": {**PUBLISHED["data"], "crop": 320},
        "training": {**PUBLISHED["training"], "iterations": 750, "batch": 4, "validate_every": 375},
    },
    "long": {  # to convergence on a GPU
        "backbone": "resnet18",
        "width": 128,
        "data": {"crop": 320, "cache": True, "workers": 8, "jitter": 0.5, "scales": [0.5, 2.0]},
        "training": {"iterations": 20000, "batch": 16, "lr": 0.03, "warmup": 500, "validate_every": 2000, "ema": 0.999},
    },
}


def recipe(
    row: str, budget: dict[str, Any], seed: int, *, precision: str = "bf16", weights: Path | None = None
) -> Recipe:
    """The one recipe with the model of ``row``. Hard examples as IFA has them.

    No auxiliary head, for peers have none, unless the budget says so.
    """
    pretrained = False if weights is None else str(weights)
    model = {"backbone": budget["backbone"], "width": budget["width"], "pretrained": pretrained, **ROWS[row]}
    if "hidden" in budget and "hidden" in model.get("options", {}):
        model["options"] = {**model["options"], "hidden": budget["hidden"]}
    asked = TRAINING.get(row, {"query": "grid"})
    training = {**budget["training"], "precision": precision, **asked, "seed": seed, "checkpoint_every": 200}
    loss = {"auxiliary_weight": 0.0, **budget.get("loss", {}), **LOSS.get(row, {})}
    return Recipe.from_content({"model": model, "data": budget["data"], "training": training, "loss": loss})


def result(folder: Path, data: Path, full: Path | None, base: Recipe, *, half: bool, several: bool) -> dict[str, Any]:
    """Everything that is reported of a trained row; ``base``: what latency is relative to.

    ``half``: it was trained to see images at half their size. ``several``: test it at several scales, mirrored, too.
    """
    model = featalign.load(folder)
    if not isinstance(model, peers.Peer):
        model.fill = 1
    test = open_dataset(data, "test")
    size = (SIZE[0] // 2, SIZE[1] // 2) if half else SIZE
    if half:
        modes = ("resized", "dense")
        found = {f"480x360 {m}": _scores(evaluate(Predictor(model, mode=m, scales=(0.5,)), test)) for m in modes}
        found["480x360"] = found["480x360 dense" if model.auto_mode == "dense" else "480x360 resized"]
        full = None
    else:
        found = {"480x360": _scores(evaluate(Predictor(model), test))}
    if several:
        at_scales = Predictor(model, scales=(0.75, 1.0, 1.25), flip=True)
        found["480x360 scales"] = _scores(evaluate(at_scales, test))
    points = isinstance(model, PointRefined)
    if points:  # by itself it is refined, wherever it is asked
        found["480x360 resized"] = _scores(evaluate(Predictor(model, mode="resized"), test))
    if full is not None:
        native = open_dataset(full, "test")
        asked = ("adaptive",) if points else ("dense",) if model.implicit is not None else ()
        for mode in ("resized", *asked):
            scored = evaluate(Predictor(model, mode=mode), native, input_size=SIZE)
            found[f"960x720 {mode}"] = _scores(scored)
    metrics = json.loads((folder / "metrics.json").read_text())
    return {
        "parameters": sum(p.numel() for name, p in model.named_parameters() if not name.startswith("auxiliary.")),
        "multiply_adds": multiply_adds(model, size),
        "val": {"miou": metrics["validation"]["miou"], "step": metrics["validation"]["step"]},
        "curve": _curve(folder),
        "test": found,
        "latency": latency(model, build_model(base, test.classes), size),
        "seconds_per_iteration": metrics["seconds_per_iteration"],
    }


def multiply_adds(model: Segmentor, size: tuple[int, int]) -> int:
    """Of the logits on the finest grid for one image."""
    shapes = copy.deepcopy(model).to("meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        shapes.native(shapes.encode(torch.empty(1, 3, *size, device="meta")))
    return counter.get_total_flops() // 2


def latency(model: Segmentor, base: Segmentor, size: tuple[int, int], *, turns: int = 7) -> float:
    """Process time for an answer of 480x360, relative to ``base``: one thread of a CPU, in turns, medians.

    ``size``: at which ``model`` sees the image; ``base`` sees it whole.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    images = [torch.randn(1, 3, *seen).contiguous(memory_format=torch.channels_last) for seen in (size, SIZE)]
    networks = [network.cpu().to(memory_format=torch.channels_last).eval() for network in (model, base)]
    spent: list[list[float]] = [[], []]
    with torch.inference_mode():
        for _ in range(turns + 1):
            for network, image, times in zip(networks, images, spent, strict=True):
                start = time.process_time()
                network(image, size=SIZE)
                times.append(time.process_time() - start)
    torch.set_num_threads(threads)
    return statistics.median(spent[0][1:]) / statistics.median(spent[1][1:])


def _scores(found: Evaluation) -> dict[str, Any]:
    return {
        "images": found.images,
        "miou": found.scores.miou,
        "pixel_accuracy": found.scores.pixel_accuracy,
        "bands": {str(width): scores.miou for width, scores in found.boundary.items()},
        "iou": dict(zip(found.classes.names, found.scores.iou, strict=True)),
    }


def _curve(folder: Path) -> list[tuple[int, float]]:
    lines = map(json.loads, (folder / "log.jsonl").read_text().splitlines())
    return [(line["step"], line["miou"]) for line in lines if line["kind"] == "validation"]


def run(options: argparse.Namespace) -> None:
    budget = BUDGETS[options.budget]
    store = RESULTS / f"camvid-{options.budget}.jsonl"
    store.parent.mkdir(exist_ok=True)
    weights = None
    if budget["backbone"] == imagenet.BACKBONE:
        weights = imagenet.weights(options.runs / f"{imagenet.BACKBONE}.safetensors")
    for seed in options.seeds:
        for row in options.rows:
            if (row, seed) in stored(store, budget):
                continue
            folder = options.runs / options.budget / f"{row}-{seed}"
            chosen = recipe(row, budget, seed, precision=options.precision, weights=weights)
            train(chosen, data=options.data, out=folder, device=options.device)
            kind = {"half": row.endswith("_half"), "several": row in SEVERAL_SCALES}
            found = result(folder, options.data, options.full, base=recipe("bilinear", budget, seed), **kind)
            with store.open("a") as file:
                line = {"row": row, "seed": seed, "precision": chosen.training.precision, "budget": budget, **found}
                file.write(json.dumps(line) + "\n")
            test = found["test"]["480x360"]
            print(
                f"{row} seed {seed}: test mIoU {100 * test['miou']:.2f}, 3 px {100 * test['bands']['3']:.2f}",
                flush=True,
            )


def stored(store: Path, budget: dict[str, Any]) -> set[tuple[str, int]]:
    """Rows and seeds that are there. Exits if any was run with another budget."""
    lines = [json.loads(line) for line in store.read_text().splitlines()] if store.exists() else []
    if any(line["budget"] != budget for line in lines):
        raise SystemExit(f"{store}: holds rows of another budget; move the file away to begin anew")
    return {(line["row"], line["seed"]) for line in lines}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("budget", choices=BUDGETS)
    parser.add_argument("--data", type=Path, required=True, help="CamVid at 480x360")
    parser.add_argument("--full", type=Path, help="CamVid at 960x720")
    parser.add_argument("--runs", type=Path, required=True, help="where the run folders go")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--precision", choices=["bf16", "fp32"], default="bf16", help="fp32 where bf16 is emulated")
    parser.add_argument("--device", default="auto")
    peers.add()
    run(parser.parse_args())


if __name__ == "__main__":
    main()
