"""The application: paths, the door before them, and errors in one line."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException

from featalign.inference import Predictor
from featalign.models import Detector
from featalign.serve.attending import Attended
from featalign.serve.guard import Guard, problem
from featalign.serve.metrics import Measured
from featalign.serve.problems import RequestError
from featalign.serve.routes import open_router, router
from featalign.serve.service import Service
from featalign.serve.settings import Settings
from featalign.serve.spelling import known_names
from featalign.version import __version__

_log = logging.getLogger("featalign.serve")
_A_SIZE = "expected HEIGHTxWIDTH like 1080x1920, in whole numbers from 1 to 99999"
_PLAINLY = {
    ("image", "missing"): "no file; send it as the field image of a form, as curl -F image=@FILE does",
    ("image", "value_error"): "expected a file, as curl -F image=@FILE sends it",
    ("size", "string_pattern_mismatch"): _A_SIZE,
    ("input_size", "string_pattern_mismatch"): _A_SIZE,
}
"""Faults by place and kind, where the usual words do not say what to do."""


def create_app(
    models: Mapping[str, Predictor],
    settings: Settings | None = None,
    *,
    detectors: Mapping[str, Detector] | None = None,
    device: str = "auto",
) -> FastAPI:
    """An ASGI application that answers for ``models``, by name; the first is the default.

    ``detectors`` find objects, on ``device``, under other names; the first of them is their default.

    Paths: ``/v1/segment``, ``/v1/detect``, ``/v1/images``, ``/v1/query``, ``/v1/models``, ``/health``, ``/ready``,
    ``/metrics``, ``/docs``. Run it with one worker process: the queue before the networks is in it.

    Raises:
        ConfigError: without a model.
    """
    settings = settings or Settings()
    service = Service(models, settings, detectors=detectors, device=device)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            yield

    app = FastAPIOffline(
        title="featalign",
        version=__version__,
        description="Segmentation at any resolution, and at points; objects and panoptic segments.",
        lifespan=lifespan,
        redoc_url=None,
    )
    app.state.service = service
    # The guard asks for the token, before the body is received; this tells the document so.
    bearer = [Depends(HTTPBearer(auto_error=False))] if settings.token else []
    app.include_router(router, dependencies=[*bearer, Depends(known_names)])
    app.include_router(open_router)
    _close_forms(app)
    app.add_exception_handler(RequestError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _broken)
    app.add_middleware(Attended)
    app.add_middleware(Guard, settings=settings)
    app.add_middleware(Measured, metrics=service.metrics)
    return app


def _close_forms(app: FastAPI) -> None:
    """The document says what :func:`~featalign.serve.spelling.known_names` holds: forms have no further fields."""
    for name, schema in app.openapi()["components"]["schemas"].items():
        if name.startswith("Body_"):  # as FastAPI calls them
            schema["additionalProperties"] = False


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestError)
    return problem(error.status, str(error), retry_after=error.retry_after)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return problem(422, "; ".join(_fault(fault) for fault in error.errors()[:5]))


def _fault(fault: Mapping[str, Any]) -> str:
    if fault["type"] == "json_invalid":
        return f"body: no valid JSON at character {fault['loc'][1]} ({fault['ctx']['error']})"
    place = _place(fault["loc"])
    return f"{place}: {_PLAINLY.get((place, fault['type']), fault['msg'])}{_got(fault.get('input'))}"


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location[1:]) or str(location[0])


def _got(value: object) -> str:
    return f" (got {str(value)[:60]!r})" if isinstance(value, str | int | float) else ""


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    known = {404: f"no path {request.url.path[:60]}", 405: f"this path does not take {request.method[:60]}"}
    said = known.get(error.status_code)
    answer = problem(error.status_code, f"{said}; /docs lists what there is" if said else str(error.detail))
    answer.headers.update(error.headers or {})
    return answer


async def _broken(request: Request, error: Exception) -> JSONResponse:
    """A defect of ours: the log has it all, the client learns only that it was not its fault."""
    _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return problem(500, "the service failed at this request; its log says more")
