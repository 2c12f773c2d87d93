"""Who may ask."""

from __future__ import annotations

import hmac
from http.cookies import SimpleCookie

from starlette.datastructures import Headers, QueryParams
from starlette.requests import cookie_parser
from starlette.types import Scope

COOKIE = "featalign"
OPEN_PATHS = frozenset({"/health", "/ready"})


def refusal(scope: Scope, token: str | None) -> tuple[int, str] | None:
    """Status and reason if this request is not to be answered; None if it is."""
    headers = Headers(scope=scope)
    if headers.get("sec-fetch-site") == "cross-site" and scope["method"] not in ("GET", "HEAD"):
        return 403, "a page of another site may not send requests to this service"
    if token is None or scope["path"] in OPEN_PATHS or any(_same(given, token) for given in _given(headers)):
        return None
    return 401, "a token is needed: send it as Authorization: Bearer TOKEN"


def brings_token(scope: Scope, token: str | None) -> bool:
    """Whether a browser comes with the token in the address (``/?token=…``), to be given a cookie instead."""
    given = QueryParams(scope["query_string"]).get("token", "")
    return token is not None and scope["method"] == "GET" and _same(given, token)


def cookie(token: str) -> str:
    """What makes a browser bring the token along, to this service only and unseen by scripts."""
    jar: SimpleCookie = SimpleCookie({COOKIE: token})
    jar[COOKIE]["path"] = "/"
    jar[COOKIE]["httponly"] = True
    jar[COOKIE]["samesite"] = "Strict"
    return jar[COOKIE].OutputString()


def _given(headers: Headers) -> list[str]:
    kind, _, value = headers.get("authorization", "").partition(" ")
    jar = cookie_parser(headers.get("cookie", ""))  # of other services of this host, too, in whatever form
    return [value.strip() if kind.lower() == "bearer" else "", jar.get(COOKIE, "")]


def _same(given: str, token: str) -> bool:
    """In a time that does not tell how much was right."""
    return hmac.compare_digest(given.encode(), token.encode())
