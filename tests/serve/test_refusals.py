"""What cannot be answered is refused with the right status and a reason in one line, and harms nobody else."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from serve.conftest import encoded
from tiled_tiff import tiled_tiff


def bomb(width: int, height: int) -> bytes:
    """A PNG that says it is huge and is not."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def saved(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def animated(kind: str) -> bytes:
    frames = [Image.new("RGB", (20, 20), color) for color in ("red", "green", "blue")]
    return saved(frames[0], kind, save_all=True, append_images=frames[1:])


def array_file(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, pixels)
    return buffer.getvalue()


GRADIENT = np.arange(60 * 80 * 3, dtype=np.uint8).reshape(60, 80, 3)
IMAGES = {
    "empty": (b"", 422, "is empty"),
    "text": (b"not an image at all", 415, "is not a JPEG"),
    "script": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "is not a JPEG"),
    "gif": (animated("GIF"), 415, "is not a JPEG"),
    "truncated png": (encoded(GRADIENT)[:200], 422, "damaged"),
    "truncated jpeg": (encoded(GRADIENT, "JPEG")[:500], 422, "damaged"),
    "bomb": (bomb(60_000, 60_000), 413, "3,600,000,000 pixels"),
    "tile bomb": (tiled_tiff(16, 16, 60_000, written=9), 413, "3,600,000,000 pixels"),
    "lying header": (bomb(300, 300), 422, "damaged"),
    "16 bit": (saved(Image.fromarray(np.zeros((9, 9), np.uint16)), "PNG"), 415, "8 bit"),
    "cmyk": (saved(Image.new("CMYK", (9, 9)), "JPEG"), 415, "CMYK"),
    "animated png": (animated("PNG"), 415, "3 pictures"),
    "animated webp": (animated("WEBP"), 415, "3 pictures"),
    "pages": (
        saved(Image.new("RGB", (9, 9)), "TIFF", save_all=True, append_images=[Image.new("RGB", (9, 9))]),
        415,
        "2",
    ),
    "alpha": (saved(Image.new("RGBA", (9, 9)), "PNG"), 415, "RGBA"),
    "array of floats": (array_file(np.zeros((4, 4, 3))), 415, "float64"),
    "array bomb": (array_file(np.zeros((1, 1, 3), np.uint8)).replace(b"(1, 1, 3)", b"(9999999, 9999999, 3)"), 413, ""),
    "truncated array": (array_file(np.zeros((9, 9, 3), np.uint8))[:-50], 422, "damaged"),
    "pickle": (array_file(np.array([{}], dtype=object)), 415, "object"),
}


@pytest.mark.parametrize("name", IMAGES)
def test_images(client, send, name):
    image, status, reason = IMAGES[name]
    response = send(client, image=image)
    detail = response.json()["detail"]
    assert response.status_code == status, detail
    assert reason in detail and "\n" not in detail and len(detail) < 300
    assert send(client).status_code == 200


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"size": "0x5"}, "size: expected HEIGHTxWIDTH like 1080x1920, in whole numbers from 1 to 99999 (got '0x5')"),
        ({"input_size": "small"}, "input_size: expected HEIGHTxWIDTH"),
        ({"size": "-1x5"}, "size"),
        ({"size": "9x9x9"}, "size"),
        ({"scales": "99"}, "scales"),
        ({"scales": ["1"] * 9}, "scales"),
        ({"scales": "nan"}, "scales"),
        ({"flip": "perhaps"}, "flip"),
        ({"output": "pdf"}, "output"),
        ({"simplify": "-1", "output": "json"}, "simplify"),
        ({"sise": "9x9"}, 'no parameter "sise"; did you mean "size"?'),
        ({"size": ["9x9", "8x8"]}, "size: 2 values, expected one; send a request for each"),
    ],
)
def test_parameters(client, send, parameters, reason):
    response = send(client, **parameters)
    assert response.status_code == 422 and reason in response.json()["detail"], response.text


def test_no_image(client):
    response = client.post("/v1/segment")
    assert response.status_code == 422 and response.json()["detail"].startswith("image: no file; send it as the field")
    response = client.post("/v1/segment", files={"image": (None, "street.jpg")})
    assert response.json()["detail"] == "image: expected a file, as curl -F image=@FILE sends it (got 'street.jpg')"
    assert client.post("/v1/segment", content=b"x", headers={"Content-Type": "image/png"}).status_code == 422
    broken = client.post("/v1/segment", content=b"x", headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert broken.status_code in (400, 422)


def test_what_would_be_left_out_is_refused(client, png):
    parts = {
        'no field "size"': [("image", png), ("size", b"9x9")],
        'no field "picture"': [("picture", png)],
        "2 images, expected one": [("image", png), ("image", png)],
    }
    for reason, files in parts.items():
        response = client.post("/v1/segment", files=files)
        assert response.status_code == 422 and reason in response.json()["detail"], response.text
    assert client.get("/v1/models?model=a").json()["detail"] == 'no parameter "model"; this path takes none'


@pytest.mark.parametrize(
    ("path", "kind", "body"),
    [
        ("/v1/segment", "multipart/form-data; boundary=b", b"x"),
        ("/v1/query", "application/json", b'{"id": "\xff"}'),
        ("/v1/query", "application/json", b'{"id": ' + b"[" * 9000),
    ],
)
def test_bodies_that_cannot_be_parsed(client, path, kind, body):
    response = client.post(path, content=body, headers={"Content-Type": kind})
    assert response.status_code == 400 and set(response.json()) == {"detail"}


def test_larger_answers_are_work_for_the_client_that_pays(serve, send):
    client = serve(max_answer_pixels=1000, max_network_pixels=5000)
    assert send(client, size="25x40").status_code == 200
    assert send(client).status_code == 413, "the image's own size is no exception"
    response = send(client, size="10x10", scales=[1, 2])
    assert response.status_code == 413 and "the network would see 15,360 pixels" in response.json()["detail"]
    response = send(client, size="20000x20000")
    assert response.status_code == 413 and "400,000,000 pixels" in response.json()["detail"]


def test_large_bodies(serve, send, png):
    client = serve(max_body=len(png) + 1000)
    assert send(client).status_code == 200
    response = send(client, image=png + bytes(2000))
    assert response.status_code == 413 and "bytes" in response.json()["detail"]

    def chunks():
        yield from (bytes(1000) for _ in range(50))

    assert client.post("/v1/segment", content=chunks()).status_code == 413


def test_unknown_paths_and_methods(client):
    assert client.get("/v1/nothing").json() == {"detail": "no path /v1/nothing; /docs lists what there is"}
    response = client.get("/v1/segment")
    assert response.json() == {"detail": "this path does not take GET; /docs lists what there is"}
    assert (response.status_code, response.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize("path", ["/health", "/ready", "/metrics", "/v1/models", "/openapi.json"])
def test_monitors_that_send_head_get_what_get_does_without_the_body(client, path):
    asked, told = client.get(path), client.head(path)
    assert (told.status_code, told.headers["content-type"]) == (200, asked.headers["content-type"])
    assert asked.content and not told.content
    assert "head" not in client.get("/openapi.json").json()["paths"].get(path, {})


def test_a_defect_tells_nothing_but_that_it_is_one(serve, send, monkeypatch):
    client = serve()

    def broken(*arguments, **options):
        raise KeyError("secret/path")

    monkeypatch.setattr("featalign.serve.networks.Segment.__call__", broken)
    response = send(client)
    assert response.status_code == 500 and "secret" not in response.text
    for _ in range(5):
        send(client)
    assert client.get("/ready").status_code == 503, "a service that always fails is not ready"
    monkeypatch.undo()
    assert send(client).status_code == 200 and client.get("/ready").status_code == 200
