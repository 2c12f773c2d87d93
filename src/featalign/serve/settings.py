"""What a service allows itself and others."""

from __future__ import annotations

from dataclasses import dataclass, fields

from featalign.errors import ConfigError

LOOPBACK = ("localhost", "127.0.0.1", "[::1]", "::1")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Limits of a service; requests beyond them are refused with a reason.

    Args:
        max_body: bytes of a request.
        max_pending: bytes of all requests that are being received or answered.
        max_pixels: height times width of an image, judged before it is decoded.
        max_network_pixels: pixels that the network sees of one image, all scales and mirror images together.
        max_answer_pixels: height times width of an answer: any size can be asked for, so a small image could cost much.
        max_points: points of one query.
        max_vertices: corners of all polygons of one answer.
        queue: requests that are decoded, wait or run at a time; more are refused with 503.
        batch: images that go through the network together at most.
        batch_pixels: their pixels, as the network sees them, at most (one image may have more).
        batch_wait: seconds that an image waits for company while others are being decoded.
        timeout: seconds from a request's last byte to its answer.
        upload_timeout: seconds for receiving a request.
        keep_for: seconds that an image stays encoded after it was last asked.
        keep_bytes: memory of all encoded images; the one asked longest ago goes first.
        workers: threads that decode images and write answers.
        token: what clients must send as ``Authorization: Bearer …``; None asks for nothing. Printable ASCII without
            spaces, since headers and addresses carry no other signs unchanged.
        hosts: names under which the service may be called, ``*`` for any; others are refused, so that no web page can
            reach a service on this machine by pointing a name of its own at it.

    Raises:
        ConfigError: for a value that is not positive, or a token that is short or has other signs.
    """

    max_body: int = 32 * 2**20
    max_pending: int = 256 * 2**20
    max_pixels: int = 32_000_000
    max_network_pixels: int = 96_000_000
    max_answer_pixels: int = 32_000_000
    max_points: int = 10_000
    max_vertices: int = 200_000
    queue: int = 64
    batch: int = 8
    batch_pixels: int = 4_000_000
    batch_wait: float = 0.003
    timeout: float = 60.0
    upload_timeout: float = 20.0
    keep_for: float = 600.0
    keep_bytes: int = 512 * 2**20
    workers: int = 2
    token: str | None = None
    hosts: tuple[str, ...] = LOOPBACK

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int | float) and value <= 0 and field.name != "batch_wait":
                raise ConfigError(f"serve: {field.name} must be positive, got {value}")
        if self.token is not None and len(self.token) < 8:
            raise ConfigError("serve: a token needs at least 8 characters")
        if self.token is not None and not all("!" <= sign <= "~" for sign in self.token):
            raise ConfigError(
                "serve: a token has ASCII letters, digits and signs, no spaces and no umlauts or the like; take another"
            )
