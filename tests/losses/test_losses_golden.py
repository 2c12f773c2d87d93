"""The published losses of IFA and AlignSeg, reproduced."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from featalign.losses import cross_entropy, lovasz_softmax, ohem_cross_entropy, ohem_cross_entropy_alignseg

pytestmark = pytest.mark.golden

# The published code's fixed weights of the 19 Cityscapes classes: of the mined loss, then of the plain one.
WEIGHTS = "0.8373 0.918 0.866 1.0345 1.0166 0.9969 0.9754 1.0489 0.8786 1.0023 "
WEIGHTS += "0.9539 0.9843 1.1116 0.9037 1.0865 1.0955 1.0865 1.1529 1.0507"
WEIGHTED = {"weight": torch.tensor([float(number) for number in WEIGHTS.split()])}
RARE_ONLY = torch.tensor([float(digit) for digit in "0001111001001010111"])


def fixtures(root: Path, family: str) -> Iterator[tuple[dict[str, Any], dict[str, Tensor]]]:
    folders = sorted(root.glob(f"{family}*"))
    if not folders:
        pytest.skip(f"{root} holds no {family}*")
    for folder in folders:
        yield json.loads((folder / "meta.json").read_text()), load_file(folder / "io.safetensors")


def published_options(arguments: dict[str, Any]) -> dict[str, Any]:
    return {
        "threshold": arguments.get("thresh", 0.7),
        "min_kept": arguments.get("min_kept", 256),
        "ignore_index": arguments.get("ignore_index", 255),
        "weight": WEIGHTED["weight"] if arguments.get("use_weight") else None,
    }


def test_ohem_of_ifa(golden_dir: Path) -> None:
    for meta, tensors in fixtures(golden_dir, "loss_ifa_ohem"):
        for case in meta["cases"]:
            name, tolerance = case["case"], meta["tolerance"]
            logits = tensors[f"{name}/in/logits"].requires_grad_()
            loss = ohem_cross_entropy(logits, tensors[f"{name}/in/target"], **published_options(case["ctor"]))
            loss.backward()
            if case["valid"] == 0:  # the published code gives nan here; ours an attached 0
                assert math.isnan(tensors[f"{name}/out/loss"])
                assert loss.item() == 0 and not logits.grad.any()
                continue
            torch.testing.assert_close(
                loss.detach().double(),
                tensors[f"{name}/out/loss"],
                **tolerance,
                msg=lambda text, n=name: f"{n}: {text}",
            )
            torch.testing.assert_close(logits.grad, tensors[f"{name}/out/grad"], **tolerance)
            kept = logits.grad.abs().sum(1).gt(0)
            assert int(kept.sum()) == case["kept"], name
            assert torch.equal(kept, tensors[f"{name}/mid/new_target"] != 255), name


def criteria(case: dict[str, Any], main: Tensor, aux: Tensor, target: Tensor) -> dict[str, Tensor]:
    """The published criteria, composed: both outputs are mined; `weighted` without mining adds weighted CE."""
    share = case["aux_weight"]
    mined = published_options(case["ohem"])
    plain = cross_entropy(main, target)
    plain_aux = share * cross_entropy(aux, target)
    mined_aux = share * ohem_cross_entropy(aux, target, **mined)
    return {
        "CriterionOhem_noaux": ohem_cross_entropy(main, target, **mined),
        f"CriterionOhem_aux{share}": ohem_cross_entropy(main, target, **mined) + mined_aux,
        "CriterionOhem_weighted": ohem_cross_entropy(main, target, **(mined | WEIGHTED)) + mined_aux,
        "Criterion_noaux": plain,
        f"Criterion_aux{share}": plain + plain_aux,
        "Criterion_weighted": plain + cross_entropy(main, target, weight=RARE_ONLY) + plain_aux,
    }


def test_criteria_of_ifa(golden_dir: Path) -> None:
    for meta, tensors in fixtures(golden_dir, "loss_ifa_criterion"):
        for case in meta["cases"]:
            main = tensors["in/main"].requires_grad_()
            losses = criteria(case, main, tensors["in/aux"], tensors["in/target"])
            for name, loss in losses.items():
                (gradient,) = torch.autograd.grad(loss, main, retain_graph=True)
                torch.testing.assert_close(loss.detach().double(), tensors[f"out/{name}"], **meta["tolerance"])
                torch.testing.assert_close(gradient, tensors[f"out/{name}_grad_main"], **meta["tolerance"])


def test_ohem_of_alignseg(golden_dir: Path) -> None:
    for meta, tensors in fixtures(golden_dir, "loss_alignseg_ohem"):
        for case in meta["cases"]:
            name, options = case["case"], dict(case["ctor"])
            names = {"thresh": "threshold", "ignore_label": "ignore_index"}
            options = {names.get(option, option): value for option, value in options.items()}
            logits = tensors[f"{name}/in/logits"].requires_grad_()
            loss = ohem_cross_entropy_alignseg(logits, tensors[f"{name}/in/target"], **options)
            loss.backward()
            if case["valid"] == 0:  # the published code gives nan here; ours an attached 0
                assert math.isnan(tensors[f"{name}/out/loss"])
                assert loss.item() == 0 and not logits.grad.any()
                continue
            torch.testing.assert_close(loss.detach().double(), tensors[f"{name}/out/loss"], **meta["tolerance"])
            torch.testing.assert_close(logits.grad, tensors[f"{name}/out/grad"], **meta["tolerance"])
            assert int(logits.grad.abs().sum(1).gt(0).sum()) == case["kept"], name


def alignseg_criteria(main: Tensor, dsn: Tensor, target: Tensor, mining: dict[str, Any]) -> dict[str, Tensor]:
    """The published criteria, composed; the one named after OHEM mines nothing."""
    main, dsn = (F.interpolate(x, size=target.shape[1:], mode="bilinear", align_corners=True) for x in (main, dsn))
    plain, plain_dsn = cross_entropy(main, target), cross_entropy(dsn, target)
    return {
        "CriterionDSN": plain + 0.1 * plain_dsn,
        "CriterionDSN_single": plain,
        "CriterionOhemDSN": plain + 0.8 * lovasz_softmax(main, target) + 0.1 * plain_dsn,
        "CriterionOhemDSN2": ohem_cross_entropy_alignseg(main, target, **mining) + 0.4 * plain_dsn,
        "lovasz_softmax": lovasz_softmax(main, target),
        "lovasz_softmax_all": lovasz_softmax(main, target, classes="all"),
        "lovasz_softmax_per_image": lovasz_softmax(main, target, per_image=True),
    }


def test_criteria_of_alignseg(golden_dir: Path) -> None:
    for meta, tensors in fixtures(golden_dir, "loss_alignseg_criterion"):
        for case in meta["cases"]:
            name = case["case"]
            main, dsn = (tensors[f"{name}/in/{key}"].requires_grad_() for key in ("main", "dsn"))
            mining = {"threshold": case["ohem2"]["thresh"], "min_kept": case["ohem2"]["min_kept"]}
            losses = alignseg_criteria(main, dsn, tensors[f"{name}/in/target"], mining)
            for criterion, loss in losses.items():
                key = f"{name}/out/{criterion}"
                torch.testing.assert_close(loss.detach().double(), tensors[key], **meta["tolerance"])
                for side, given in (("main", main), ("dsn", dsn)):
                    if f"{key}_grad_{side}" in tensors:
                        (gradient,) = torch.autograd.grad(loss, given, retain_graph=True)
                        torch.testing.assert_close(gradient, tensors[f"{key}_grad_{side}"], **meta["tolerance"])
