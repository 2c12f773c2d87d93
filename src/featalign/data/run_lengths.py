"""COCO's compressed run lengths as numbers, without pycocotools."""

from __future__ import annotations


def decompressed(text: str | bytes) -> list[int]:
    """Five bits a character, the lowest first, signed; from the fourth number on, the difference to the one before the
    last. Raises ValueError."""
    lengths: list[int] = []
    value = shift = 0
    for character in text if isinstance(text, bytes) else text.encode("ascii"):
        bits = character - 48
        if not 0 <= bits < 64:
            raise ValueError(f"{chr(character)!r} in compressed run lengths")
        value, shift = value | (bits & 31) << shift, shift + 5
        if bits < 32:
            value -= (bits >> 4) << shift  # the highest of its bits is the sign
            lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError("compressed run lengths that break off")
    return lengths
