"""What the `optimize` command says of :func:`featalign.inference.optimizing.optimize`."""

from __future__ import annotations

from pathlib import Path

from featalign.cli.console import out, table
from featalign.inference.optimizing import Form, Optimized


def show(found: Optimized) -> None:
    """What each form brings and changes."""
    table(
        [_row(form, found.forms[0]) for form in found.forms],
        header=("", "one image", "faster", "largest difference", "equal labels"),
    )


def advise(found: Optimized, tolerance: float, run: Path, output: Path | None) -> None:
    """The fastest form with at most a share ``tolerance`` of the labels changed, and how it is used.

    ``run``: the model as it is. ``output``: where the prepared one was written; None if it was not.
    """
    best = found.fastest(tolerance)
    model = run if best is found.forms[0] else output or "DIR"
    unwritten = "; --out DIR writes it" if model == "DIR" else ""
    option = "" if best.precision == "fp32" else f" --precision {best.precision}"
    compiled = "; to compile: model.get_submodule('backbone').compile(dynamic=True)" if "compile" in best.name else ""
    out.print(f"fastest with at most {100 * tolerance:g} % of the labels changed: {best.name}")
    out.print(f"use: featalign predict {model}{option}{unwritten}{compiled}")


def _row(form: Form, base: Form) -> tuple[str, ...]:
    return (
        form.name,
        f"{1000 * form.seconds:.1f} ms",
        f"{base.seconds / form.seconds:.2f} x",
        f"{100 * form.difference:.2g} %",
        f"{100 * form.equal:.3f} %",
    )
