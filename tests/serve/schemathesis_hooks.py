"""Loaded by Schemathesis: what an image file is, which no OpenAPI document can say."""

import io

import schemathesis
from hypothesis import strategies as st
from PIL import Image


def png(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (9, 99, 200)).save(buffer, "PNG")
    return buffer.getvalue()


schemathesis.openapi.media_type(
    "image/png",
    st.sampled_from([png(1, 1), png(14, 9), png(16, 32)]),
    aliases=["image/jpeg", "image/tiff", "image/bmp", "image/webp", "application/octet-stream"],
)
