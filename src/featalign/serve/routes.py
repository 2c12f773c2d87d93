"""The paths of the service."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Depends, File, Path, Query, Request, Response, UploadFile
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute

from featalign.serve.answers import Segmentation, labels_png, numbers, overlay_png
from featalign.serve.objects import Detection, detection, detection_png, segments_png
from featalign.serve.problems import TooLargeError, responses
from featalign.serve.question import Question
from featalign.serve.schemas import KeptImage, ModelInfo, PointAnswer, PointQuery, QueryAnswer, State
from featalign.serve.service import Service
from featalign.spec import Classes


class ShortRoute(APIRoute):
    """Refuses a body of more than the points that are allowed before it is parsed: that can take a hundred times its
    memory, and everybody else waits meanwhile."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_short(request: Request) -> Response:
            body, limit = await request.body(), _service(request).settings.max_points
            parts = body.count(b"[") + body.count(b"{")
            if len(body) > _BYTES_BESIDES + _BYTES_PER_POINT * limit or parts > _PARTS_BESIDES + limit:
                raise TooLargeError(
                    f"the request is longer than one of {limit:,} points; send at most so many at a time"
                )
            return await handle(request)

        return handle_short


router = APIRouter()
point_router = APIRouter(route_class=ShortRoute)
"""Belongs to ``router``; requests whose body is parsed where everybody else waits."""
open_router = APIRouter(tags=["service"])
"""What a supervisor asks without a token."""
_BYTES_PER_POINT, _BYTES_BESIDES = 100, 1000  # two numbers of all their digits, each on a line of its own
_PARTS_BESIDES = 100  # lists and objects; an id may contain 64 brackets
_SIZE = r"^([1-9][0-9]{0,4}(x[1-9][0-9]{0,4})?)?$"
_KINDS = "image/png, image/jpeg, image/tiff, image/bmp, image/webp, application/octet-stream"
_UPLOAD = {"requestBody": {"content": {"multipart/form-data": {"encoding": {"image": {"contentType": _KINDS}}}}}}
_UNLISTED: dict[str, Any] = {"include_in_schema": False}
"""HEAD, which monitors send: as GET, of which the document tells; the server leaves out the body."""
_PNG: dict[str, Any] = {"image/png": {"schema": {"type": "string", "format": "binary"}}}

Image = Annotated[
    UploadFile, File(description="JPEG, PNG, TIFF, BMP, WebP, or a .npy array (height, width, channels).")
]
Model = Annotated[str, Query(description="A name from `/v1/models`; default the first.", max_length=200)]
InputSize = Annotated[
    str, Query(pattern=_SIZE, description="HEIGHTxWIDTH to which the image is resized for the network.")
]
Scale = Annotated[float, Query(ge=0.1, le=4)]


def _service(request: Request) -> Service:
    return request.app.state.service


Serving = Annotated[Service, Depends(_service)]


def _size(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    height, _, width = text.partition("x")
    return int(height), int(width or height)


def question(
    size: Annotated[
        str, Query(pattern=_SIZE, description="HEIGHTxWIDTH of the answer, any; default the image's own.")
    ] = "",
    input_size: InputSize = "",
    scales: Annotated[
        list[Scale], Query(description="Average over these sizes of the image, relative to input_size.", max_length=8)
    ] = [1.0],  # noqa: B006 - FastAPI copies it
    flip: Annotated[bool, Query(description="Average over the image and its mirror image.")] = False,
) -> Question:
    """The parameters of a segmentation."""
    return Question(size=_size(size), input_size=_size(input_size), scales=tuple(scales), flip=flip)


@router.post(
    "/v1/segment",
    tags=["images"],
    response_class=Response,
    openapi_extra=_UPLOAD,
    responses={200: {"model": Segmentation, "content": _PNG, "description": "The answer."}, **responses(404, 415, 504)},
)
async def segment(
    service: Serving,
    image: Image,
    asked: Annotated[Question, Depends(question)],
    model: Model = "",
    output: Annotated[
        Literal["labels", "overlay", "json"],
        Query(description="labels: palette PNG of class ids; overlay: PNG of image, colours and legend; json."),
    ] = "labels",
    polygons: Annotated[bool, Query(description="With json: send the outlines of all regions.")] = True,
    simplify: Annotated[float, Query(ge=0, le=100, description="Pixels that an outline may be off.")] = 0.0,
    min_area: Annotated[int, Query(ge=1, description="Leave out smaller regions, in pixels.", le=2**31)] = 1,
) -> Response:
    """Segment an image."""
    data = await image.read()
    if output == "json":
        render = partial(
            numbers,
            with_polygons=polygons,
            tolerance=simplify,
            min_area=min_area,
            max_vertices=service.settings.max_vertices,
        )
        text = await service.segment(data, asked, lambda answer: render(answer).model_dump_json(), model=model)
        return Response(text, media_type="application/json")
    png = labels_png if output == "labels" else overlay_png
    return Response(await service.segment(data, asked, png, model=model), media_type="image/png")


@router.post(
    "/v1/detect",
    tags=["images"],
    response_class=Response,
    openapi_extra=_UPLOAD,
    responses={
        200: {"model": Detection, "content": _PNG, "description": "The answer."},
        **responses(404, 409, 415, 504),
    },
)
async def detect(
    service: Serving,
    image: Image,
    model: Model = "",
    threshold: Annotated[float, Query(ge=0, le=1, description="Least score of an object.")] = 0.5,
    output: Annotated[
        Literal["json", "overlay", "segments"],
        Query(description="overlay: PNG of what was found; segments: PNG of a panoptic answer's numbers."),
    ] = "json",
    masks: Annotated[bool, Query(description="With json: send the masks of objects.")] = True,
) -> Response:
    """Find the objects in an image, or divide it into segments."""
    data = await image.read()
    if output == "json":
        render = partial(detection, masks=masks)
        text = await service.detect(data, threshold, lambda answer: render(answer).model_dump_json(), model=model)
        return Response(text, media_type="application/json")
    picture = detection_png if output == "overlay" else segments_png
    return Response(await service.detect(data, threshold, picture, model=model), media_type="image/png")


@router.post(
    "/v1/images",
    tags=["points"],
    status_code=201,
    openapi_extra=_UPLOAD,
    responses=responses(404, 409, 415, 504),
)
async def keep_image(service: Serving, image: Image, model: Model = "", input_size: InputSize = "") -> KeptImage:
    """Encode an image once, to be asked at points for a while."""
    name, kept = await service.keep(await image.read(), Question(input_size=_size(input_size)), model=model)
    height, width = kept.size
    return KeptImage(id=name, model=kept.model, height=height, width=width, seconds=service.sessions.keep_for)


@router.delete("/v1/images/{id}", tags=["points"], status_code=204, responses=responses(404))
async def forget_image(service: Serving, id: Annotated[str, Path(max_length=64)]) -> Response:
    """Forget a kept image now."""
    service.sessions.drop(id)
    return Response(status_code=204)


@point_router.post("/v1/query", tags=["points"], responses=responses(404, 409, 504))
async def query(service: Serving, body: PointQuery) -> QueryAnswer:
    """The classes at points of a kept image."""
    if len(body.points) > service.settings.max_points:
        raise TooLargeError(f"points: {len(body.points):,}, at most {service.settings.max_points:,} in one request")
    kept, found = await service.query(body.id, body.points)
    classes = service.models[kept.model].model.classes
    points = [_point(row, classes, everything=body.probabilities) for row in found]
    return QueryAnswer(model=kept.model, points=points)


def _point(probabilities: np.ndarray[Any, Any], classes: Classes, *, everything: bool) -> PointAnswer:
    best = int(probabilities.argmax())
    return PointAnswer(
        class_id=best,
        name=classes.names[best],
        probability=float(probabilities[best]),
        probabilities=probabilities.tolist() if everything else None,
    )


router.include_router(point_router)


@router.head("/v1/models", **_UNLISTED)
@router.get("/v1/models", tags=["images"], responses=responses())
async def models(service: Serving) -> list[ModelInfo]:
    """The models that can be asked, and what their class ids mean."""
    found = [ModelInfo.of(name, predictor.model) for name, predictor in service.models.items()]
    return found + [ModelInfo.of(name, detector) for name, detector in service.detectors.items()]


@open_router.head("/health", **_UNLISTED)
@open_router.get("/health")
async def health() -> State:
    """Whether the process answers at all."""
    return State(status="ok")


@open_router.head("/ready", **_UNLISTED)
@open_router.get("/ready", responses={503: {"model": State, "description": "Not now."}})
async def ready(service: Serving) -> Response:
    """Whether requests are answered: the models are loaded and tried, and the last runs did not all fail."""
    works = service.ready and service.batcher.working
    return JSONResponse({"status": "ready" if works else "not ready"}, 200 if works else 503)


@router.head("/metrics", **_UNLISTED)
@router.get(
    "/metrics",
    tags=["service"],
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **responses()},
)
async def metrics(service: Serving) -> Response:
    """Counters for Prometheus."""
    return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")
