"""Under which licence weights may be passed on, as far as anybody has stated it."""

from __future__ import annotations

from typing import Any

import timm

# The hub's own identifiers among those that timm states; any other licence is "other" there, with its name beside it.
_KNOWN_TO_THE_HUB = {
    "apache-2.0",
    "bsd-3-clause",
    "cc-by-4.0",
    "cc-by-nc-4.0",
    "cc-by-nc-sa-4.0",
    "cc-by-sa-4.0",
    "cc0-1.0",
    "gpl-3.0",
    "mit",
}


def backbone_license(backbone: str) -> tuple[str, str | None]:
    """The name of timm's weights of ``backbone``, and their licence as timm states it, None where it does not."""
    known = timm.get_pretrained_cfg(backbone) if timm.is_model(backbone) else None
    if known is None:
        return f"timm/{backbone}", None
    return known.hf_hub_id or f"timm/{backbone}", known.license


def license_metadata(name: str | None) -> dict[str, Any]:
    """The fields of a card's front matter that say licence ``name``; none where nothing is stated."""
    if name is None:
        return {}
    if name.lower() in _KNOWN_TO_THE_HUB:
        return {"license": name.lower()}
    return {"license": "other", "license_name": name}
