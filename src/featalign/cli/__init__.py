"""The command line: parse, call, print. What takes time to import is imported by the command that needs it."""

from __future__ import annotations

import sys

from featalign.errors import FeatalignError


def main() -> None:
    """Entry point of ``featalign``. An error of the user's is one line and exit code 2."""
    from featalign.cli.app import app

    try:
        app()
    except FeatalignError as error:
        _fail(str(error), 2)
    except KeyboardInterrupt:
        _fail("interrupted", 130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except RuntimeError as error:
        from featalign.doctor import explain

        reason = explain(error)
        if reason is None:
            raise
        _fail(reason, 2)


def _fail(message: str, code: int) -> None:
    print(f"featalign: {message}", file=sys.stderr)
    sys.exit(code)
