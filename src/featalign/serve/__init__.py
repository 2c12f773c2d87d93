"""An HTTP service around predictors, and a page to try them. Needs the extra ``serve``; the page, ``try``."""

from __future__ import annotations

from featalign.serve.app import create_app
from featalign.serve.settings import Settings

__all__ = ["Settings", "create_app"]
