"""The `serve` command's work."""

from __future__ import annotations

import importlib.util
import logging
import math
import socket
from collections.abc import Sequence
from contextlib import closing
from dataclasses import fields
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from featalign.cli.console import err
from featalign.cli.options import parse_settings
from featalign.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from featalign.inference import Predictor
    from featalign.models import Detector
    from featalign.serve import Settings

_PACKAGES = ("fastapi", "fastapi_offline", "prometheus_client", "pycocotools", "python_multipart", "uvicorn")


def require_packages(*, page: bool) -> None:
    """Raises ConfigError if something that the service, or its page, is made with is not installed."""
    missing = [name for name in (*_PACKAGES, *(["gradio"] if page else [])) if importlib.util.find_spec(name) is None]
    if missing:
        extra = "try" if page else "serve"
        raise ConfigError(f"serve needs {', '.join(missing)}: pip install 'featalign[{extra}]'")


def named_runs(texts: Sequence[str]) -> dict[str, Path]:
    """Runs by the name they are served under: of ``NAME=RUN``, or their folder's. Raises ConfigError."""
    found: dict[str, Path] = {}
    for text in texts:
        name, equals, run = (text, "", "") if Path(text).exists() else text.partition("=")  # as in runs/lr=0.1
        path = Path(run if equals else text)
        if not equals:
            name = path.resolve().parent.name if path.resolve().name == "model" else path.resolve().name
        if name in found:
            raise ConfigError(f'{found[name]} and {path} would both be called "{name}"; write NAME={path}')
        found[name] = path
    return found


def make_settings(host: str, *, token: str | None, hosts: Sequence[str], overrides: list[str]) -> Settings:
    """The service's settings. Raises ConfigError for a field that is none, or a value of the wrong type."""
    from featalign.serve import Settings
    from featalign.serve.settings import LOOPBACK

    kinds = {field.name: field.type for field in fields(Settings) if field.type in ("int", "float")}
    chosen: dict[str, float] = {}
    for name, value in parse_settings(overrides).items():
        if name not in kinds:
            raise ConfigError(f'--set: no field "{name}"; {did_you_mean(name, kinds)}')
        if isinstance(value, bool) or not isinstance(value, int if kinds[name] == "int" else int | float):
            raise ConfigError(f"--set {name}: expected {kinds[name]}, got {value!r}")
        chosen[name] = value
    names = (*hosts, *LOOPBACK) if hosts or is_loopback(host) else ("*",)
    return Settings(token=token, hosts=names, **chosen)  # type: ignore[arg-type]


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections. Raises ConfigError, also where the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=256)
    except (OSError, OverflowError) as error:
        raise ConfigError(f"cannot listen on {host} port {port} ({error}); choose another --host or --port") from error


def run_service(
    models: dict[str, Predictor],
    settings: Settings,
    listening: socket.socket,
    *,
    detectors: dict[str, Detector],
    device: str,
    page: bool,
    host: str,
) -> None:
    """Answer until a signal says to stop; requests that have begun are answered first."""
    import uvicorn

    from featalign.serve import create_app

    class Server(uvicorn.Server):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            application.state.service.stopping.set()
            await super().shutdown(sockets)

    application = create_app(models, settings, detectors=detectors, device=device)
    if page:
        from featalign.serve.page import mount_page

        mount_page(application)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # what clients send is not our log's business
    with closing(listening):
        _announce(host, listening.getsockname()[1], settings, page=page)
        config = uvicorn.Config(
            application,
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=math.ceil(settings.timeout),
            server_header=False,
        )
        Server(config).run(sockets=[listening])


def _announce(host: str, port: int, settings: Settings, *, page: bool) -> None:
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    ending = f"/?token={quote(settings.token, safe='')}" if settings.token and page else "/"
    err.print(f"serving on {address}{ending if page else '/docs'}")
    if settings.token is None and not is_loopback(host):
        err.print("featalign: anyone who reaches this address can use it; --token asks for one")
