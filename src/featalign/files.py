"""Writing files so that nobody ever sees half of one: a temporary name beside the target, then a rename."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from featalign.errors import FeatalignError


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` to write to; on leaving the block it is flushed to disk and becomes ``path``.

    If the block fails, the temporary file is removed and ``path`` is as it was. The temporary name keeps the suffix,
    because some writers choose their format by it. The folder is made if it is missing. The block should do nothing
    but write: every OSError in it is reported as a failure to write ``path``.

    Raises:
        FeatalignError: naming ``path`` and the reason (no permission, disk full, …).
    """
    if path.exists() and not path.is_file():  # a pipe or a device is written to, never replaced; a folder, refused
        with _passed_on(path) as temporary:
            yield temporary
        return
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.tmp{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _flush(temporary)
        temporary.replace(path)
    except OSError as error:
        raise FeatalignError(f"{path}: cannot be written ({why(error)})") from error
    finally:
        _remove(temporary)


def why(error: OSError) -> str:
    """What the system says is wrong, for a message; in words where something else stands in the place of a folder."""
    if isinstance(error, FileExistsError | NotADirectoryError) and error.filename is not None:
        place = Path(os.fsdecode(error.filename))
        if place.is_symlink() and not place.exists():
            return f"{place} is a link to {place.readlink()}, which does not exist"
        return f"{place} is a file, not a folder"
    return error.strerror or str(error)


def read_json(path: Path, *, error: type[FeatalignError], expected: str) -> dict[str, Any]:
    """The object in a JSON file. Raises ``error``, naming the file and that it is not what is ``expected``."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as fault:
        raise error(f"{path}: cannot be read ({fault.strerror})") from fault
    except ValueError as fault:
        raise error(f"{path}: is not JSON ({fault})") from fault
    if not isinstance(content, dict):
        raise error(f"{path}: is not {expected}")
    return content


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write the whole of ``content`` to ``path``, or leave ``path`` as it was. See atomic_path.

    Text is written as UTF-8; what file names of other encodings leave in it, as escapes.
    """
    encoded = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    with atomic_path(path) as temporary:
        temporary.write_bytes(encoded)


@contextmanager
def _passed_on(path: Path) -> Iterator[Path]:
    """A temporary path whose content then goes through ``path``."""
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder) / f"content{path.suffix}"
        try:
            yield temporary
            with path.open("wb") as stream, temporary.open("rb") as written:
                shutil.copyfileobj(written, stream)
        except OSError as error:
            raise FeatalignError(f"{path}: cannot be written ({why(error)})") from error


def _flush(path: Path) -> None:
    """Force the bytes to disk: without it a power cut after the rename can leave an empty file."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _remove(path: Path) -> None:
    """Remove what a failed write left; a failure here must not hide the first one."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return
