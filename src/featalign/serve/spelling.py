"""Names in a request: one that means nothing is refused, since without it the answer is to another question."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import Request

from featalign.errors import did_you_mean
from featalign.serve.problems import RequestError


async def known_names(request: Request) -> None:
    """A dependency of every path. Raises RequestError for a parameter that the path does not take, or takes once and
    got again, or for a form that holds anything but one image."""
    method = {"HEAD": "get"}.get(request.method, request.method.lower())  # the document tells of GET alone
    operation = request.app.openapi()["paths"][request.scope["route"].path][method]
    _check_parameters(request, operation)
    if "multipart/form-data" in operation.get("requestBody", {}).get("content", {}):
        await _check_form(request)


def _check_parameters(request: Request, operation: Mapping[str, Any]) -> None:
    taken = [parameter for parameter in operation.get("parameters", []) if parameter["in"] == "query"]
    known = [parameter["name"] for parameter in taken]
    unknown = next((name[:60] for name in request.query_params if name not in known), None)
    if unknown is not None:
        hint = did_you_mean(unknown, known) if known else "this path takes none"
        raise RequestError(f'no parameter "{unknown}"; {hint}')
    for name in (parameter["name"] for parameter in taken if parameter["schema"].get("type") != "array"):
        if (given := len(request.query_params.getlist(name))) > 1:
            raise RequestError(f"{name}: {given} values, expected one; send a request for each")


async def _check_form(request: Request) -> None:
    names = [name for name, _ in (await request.form()).multi_items()]
    unknown = next((name[:60] for name in names if name != "image"), None)
    if unknown is not None:
        raise RequestError(
            f'form: no field "{unknown}"; the form holds the file, as "image", and the address the parameters, like '
            "?size=1080x1920"
        )
    if len(names) > 1:
        raise RequestError(f"form: {len(names)} images, expected one; send a request for each")
