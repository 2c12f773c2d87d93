"""The work of the `optimize` command."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from featalign.cli.console import out, save_json, table
from featalign.errors import ConfigError
from featalign.inference.optimizing import Form, Optimized, optimize, trial_images
from featalign.models import load_model, save_model


def optimize_run(
    run: Path,
    output: Path | None,
    *,
    size: tuple[int, int],
    images: Path | None,
    compiled: bool,
    tolerance: float,
    device: str,
    json: Path | None,
) -> None:
    """Prepare a stored model, show what each step brings, and store it if asked to. Raises FeatalignError."""
    model = load_model(run)
    if model.folded:
        raise ConfigError(f"{run}: its batch norms are folded already; give the model that it was made from")
    found = optimize(model, images=trial_images(model, size=size, folder=images), device=device, compiled=compiled)
    table(
        [_row(form, found.forms[0]) for form in found.forms],
        header=("", "one image", "faster", "largest difference", "equal labels"),
    )
    if output is not None:
        save_model(model.optimized(), output)
        out.print(f"written: {output}")
    _advise(found, tolerance, output or run)
    save_json(json, {"size": list(size), "forms": [asdict(form) for form in found.forms]})


def _advise(found: Optimized, tolerance: float, model: Path) -> None:
    best = found.fastest(tolerance)
    option = "" if best.precision == "fp32" else f" --precision {best.precision}"
    compiled = "; to compile: model.get_submodule('backbone').compile(dynamic=True)" if "compile" in best.name else ""
    out.print(f"fastest with at most {100 * tolerance:g} % of the labels changed: {best.name}")
    out.print(f"use: featalign predict {model}{option}{compiled}")


def _row(form: Form, base: Form) -> tuple[str, ...]:
    return (
        form.name,
        f"{1000 * form.seconds:.1f} ms",
        f"{base.seconds / form.seconds:.2f} x",
        f"{100 * form.difference:.2g} %",
        f"{100 * form.equal:.3f} %",
    )
