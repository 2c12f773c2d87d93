"""Markup from Python, escaped by default: what is not known to be markup is text."""

from __future__ import annotations

import html
from collections.abc import Iterable

_VOID = {"img", "col"}


class Html(str):
    """Markup. Only :func:`tag` and :func:`joined` make it, so that no name of a class or file can."""

    __slots__ = ()


def tag(name: str, *children: str, **attributes: object) -> Html:
    """An element of HTML or SVG.

    Args:
        name: of the element.
        children: markup as it is, all other text escaped.
        attributes: their values escaped; those that are None are left out. ``class_`` is written ``class``, and
            ``stroke_width`` is written ``stroke-width``.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    opened = f"<{name}{written}>"
    return Html(opened if name in _VOID else f"{opened}{joined(children)}</{name}>")


def joined(children: Iterable[str]) -> Html:
    """Markup as it is and all other text escaped, one after the other."""
    return Html("".join(child if isinstance(child, Html) else html.escape(child) for child in children))
