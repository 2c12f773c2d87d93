"""Requests that cannot be answered: each has a status and a reason in one line."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from featalign.errors import FeatalignError


class Problem(BaseModel):
    """Why a request was not answered."""

    detail: str = Field(description="What was got, what was expected, what to do.")


class RequestError(FeatalignError):
    """A request that is refused, with the status that says how."""

    status = 422
    retry_after: int | None = None


class TooLargeError(RequestError):
    """More than this service allows."""

    status = 413


class UnsupportedImageError(RequestError):
    """An image of a kind that the model cannot read."""

    status = 415


class UnknownError(RequestError):
    """Something asked for by a name or id that is not there."""

    status = 404


class CannotError(RequestError):
    """Something that this model cannot do."""

    status = 409


class BusyError(RequestError):
    """No room at the moment."""

    status = 503
    retry_after = 1


class LateError(RequestError):
    """The time for an answer is over."""

    status = 504


class GoneError(RequestError):
    """A client that did not wait. Nobody gets this status; the metrics count it."""

    status = 499


_MEANINGS = {
    400: "A broken multipart form, or JSON that is not UTF-8 or nested too deeply.",
    401: "The token is missing or wrong.",
    403: "Called under a foreign name, or by a page of another site.",
    404: "No such model, or no image under this id (any more).",
    408: "The request was not received in time.",
    409: "This model cannot do that.",
    413: "More than is allowed: bytes, pixels, points or corners of outlines.",
    415: "Not an image that the model reads.",
    422: "A parameter, or the image, cannot be used.",
    503: "No room at the moment; try again after the seconds in `Retry-After`.",
    504: "The answer took too long.",
}


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The entries of an OpenAPI document for these statuses, and those that every request can meet."""
    return {
        status: {"model": Problem, "description": _MEANINGS[status]}
        for status in sorted({400, 401, 403, 408, 413, 422, 503, *statuses})
    }
