"""A run for others: `export`, `optimize` and `share`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from featalign.cli.console import err, out, parse_size, progress, save_json
from featalign.cli.options import Device, Json, Mode
from featalign.errors import ConfigError


def export(
    run: Annotated[Path, typer.Argument(help="A training run or a model folder.")],
    to: Annotated[Literal["onnx", "openvino", "torch"], typer.Option(help="Kind of file.")],
    output: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="Ends in .onnx, .xml (OpenVINO) or .pt2 (torch).")
    ],
    size: Annotated[
        str, typer.Option(metavar="dynamic|HxW", help="Any image and answer, or those of one size.")
    ] = "dynamic",
    precision: Annotated[
        Literal["fp32", "fp16", "int8"], typer.Option(help="int8 needs --data to calibrate and to score on.")
    ] = "fp32",
    mode: Mode = "auto",
    images: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Images to try the file on; default drawn scenes.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="For int8: a labelled data set.")] = None,
    split: Annotated[str, typer.Option(help="For int8: the split that is scored.")] = "val",
    max_drop: Annotated[float, typer.Option(help="For int8: how much mIoU may fall; 0.01 is one point.")] = 0.01,
) -> None:
    """Write a model as ONNX, OpenVINO or a torch program, and compare the file with PyTorch at two sizes."""
    from featalign.cli.objects import refuse

    refuse(
        run,
        "how many answers an image has depends on what is in it, which no fixed graph follows; use predict or serve",
    )
    from featalign.cli.exporting import labelled, show
    from featalign.export import export_model
    from featalign.models import load_model

    model = load_model(run)
    found = export_model(
        model,
        output,
        to=to,
        size=_one_size(size),
        precision=precision,
        mode=mode,
        images=images,
        quantization=None if data is None else labelled(data, split, model, max_drop),
        progress=progress,
    )
    show(found, to)
    _note_trial(images)


def optimize(
    run: Annotated[Path, typer.Argument(help="A training run or a model folder.")],
    output: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Gets the prepared model; it is used like any other.")
    ] = None,
    size: Annotated[str, typer.Option(metavar="HxW", help="Of the images that it is to be fast on.")] = "512x1024",
    images: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Its first images are tried; drawn scenes by default.")
    ] = None,
    compiled: Annotated[bool, typer.Option("--compile", help="Also try torch.compile on the backbone.")] = False,
    tolerance: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the labels that the form advised may change.")
    ] = 0.01,
    device: Device = "auto",
    json: Json = None,
) -> None:
    """Prepare a model for inference: fold its batch norms, and measure here what that and half precision bring."""
    from featalign.cli.objects import refuse

    refuse(run, "it is prepared by nothing yet; predict and serve run it as it is")
    from featalign.cli.optimizing import advise, show
    from featalign.data import normalize
    from featalign.inference import optimizing
    from featalign.inference.trial_images import trial_images
    from featalign.models import load_model, save_model

    if output is not None and output.resolve() in (run.resolve(), (run / "model").resolve()):
        raise ConfigError(f"{output}: holds the model itself, and folding cannot be undone; choose another --out")
    model, shape = load_model(run), parse_size(size) or (512, 1024)
    if model.folded:
        raise ConfigError(f"{run}: its batch norms are folded already; give the model that it was made from")
    pixels = trial_images(images, channels=model.in_channels, normalization=model.normalization, size=shape)
    tried = [normalize(image, model.normalization) for image in pixels]
    if output is not None:
        save_model(model.optimized(), output)
        out.print(f"written: {output}")
    found = optimizing.optimize(model, images=tried, device=device, compiled=compiled)
    show(found)
    advise(found, tolerance, run, output)
    _note_trial(images)
    save_json(json, {"size": list(shape), "forms": [asdict(form) for form in found.forms]})


def _note_trial(images: Path | None) -> None:
    if images is None:
        err.print("featalign: tried on drawn scenes; --images FOLDER tries it on yours")


def share(
    run: Annotated[Path, typer.Argument(help="A training run or a model folder.")],
    to: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder for the model and its card.")] = None,
    push: Annotated[
        str | None, typer.Option(metavar="OWNER/NAME", help="Put both on the Hugging Face hub; needs `hf auth login`.")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="With --push: not for everybody to see.")] = False,
    license: Annotated[
        str | None, typer.Option(metavar="ID", help="Of the weights, like mit; default the backbone's, if stated.")
    ] = None,
    data: Annotated[str | None, typer.Option(metavar="NAME", help="What the model learnt from, like CamVid.")] = None,
    data_license: Annotated[str | None, typer.Option(metavar="ID", help="Licence of that data.")] = None,
    metrics: Annotated[
        list[Path], typer.Option(metavar="FILE", help="What `eval --json` wrote of this model; repeatable.")
    ] = [],  # noqa: B006 - Typer copies it
) -> None:
    """Give a model away: its two files and a card with classes, training, scores with protocol, licences and use."""
    from featalign.cli.objects import refuse

    refuse(run, "cards are of networks that label pixels; give away the folder RUN/model, which load_detector reads")
    from featalign.cli.sharing import share_run
    from featalign.models.card import Stated

    stated = Stated(license=license, data=data, data_license=data_license)
    share_run(run, to=to, push=push, private=private, stated=stated, evaluations=metrics)


def _one_size(text: str) -> tuple[int, int] | None:
    """None for ``dynamic``. Raises ConfigError."""
    if text == "dynamic":
        return None
    try:
        return parse_size(text)
    except ConfigError as error:
        raise ConfigError(f"{error}; dynamic leaves the size open") from error
