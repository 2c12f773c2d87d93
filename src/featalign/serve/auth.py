"""Who may ask."""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from http.cookies import SimpleCookie

from starlette.datastructures import Headers, QueryParams
from starlette.requests import cookie_parser
from starlette.types import Scope

COOKIE = "featalign"
OPEN_PATHS = frozenset({"/health", "/ready"})


def refusal(scope: Scope, token: str | None, hosts: Sequence[str]) -> tuple[int, str] | None:
    """Status and reason if this request is not to be answered; None if it is."""
    headers = Headers(scope=scope)
    if not is_called_by(headers.get("host", ""), hosts):
        return 403, "this service is not called by that name; start it with --allow-host NAME to allow it"
    if headers.get("sec-fetch-site") == "cross-site" and scope["method"] not in ("GET", "HEAD"):
        return 403, "a page of another site may not send requests to this service"
    if token is None or scope["path"] in OPEN_PATHS or any(_same(given, token) for given in _given(headers)):
        return None
    return 401, "a token is needed: send it as Authorization: Bearer TOKEN"


def is_called_by(host: str, names: Sequence[str]) -> bool:
    """Whether ``host``, a Host header, is one of the names, whatever its port. ``*.NAME`` stands for names that end so,
    ``*`` for any."""
    found = re.fullmatch(r"(\[[^]]*]|[^:]*)(:[0-9]*)?", host)
    called = found[1].lower() if found else ""
    return "*" in names or any(
        called == name.lower() or (name.startswith("*.") and called.endswith(name[1:].lower())) for name in names
    )


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
