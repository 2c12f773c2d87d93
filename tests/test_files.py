from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from featalign.errors import FeatalignError
from featalign.files import atomic_path, write_atomically


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_writes_text_and_bytes_and_makes_the_folder(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a" / "b.txt", "Straße\n")
    write_atomically(tmp_path / "a" / "c.bin", b"\x00\xff")
    assert (tmp_path / "a" / "b.txt").read_bytes() == "Straße\n".encode()
    assert (tmp_path / "a" / "c.bin").read_bytes() == b"\x00\xff"
    assert names(tmp_path / "a") == ["b.txt", "c.bin"]


def test_file_names_of_other_encodings_can_be_written_down(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a.txt", os.fsdecode(b"\xe9.png"))
    assert (tmp_path / "a.txt").read_text() == "\\udce9.png"


def test_pipes_are_written_to_and_stay_pipes(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_atomically(pipe, "text")
        assert os.read(reader, 10) == b"text"
    finally:
        os.close(reader)
    assert pipe.is_fifo() and names(tmp_path) == ["pipe"]


def test_failure_keeps_the_old_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "x.json"
    target.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_path(target) as temporary:
        temporary.write_text("half")
        _ = 1 / 0
    assert target.read_text() == "old"
    assert names(tmp_path) == ["x.json"]


def test_target_is_untouched_until_the_end(tmp_path: Path) -> None:
    target = tmp_path / "x.png"
    target.write_text("old")
    with atomic_path(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
        assert temporary.parent == tmp_path and temporary.suffix == ".png"
    assert target.read_text() == "new"


def test_full_disk_is_named(tmp_path: Path) -> None:
    target = tmp_path / "x.bin"
    full = pytest.raises(FeatalignError, match=r"x\.bin: cannot be written \(No space left on device\)")
    with full, atomic_path(target) as temporary:
        temporary.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert names(tmp_path) == []


def test_folder_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "x.json").mkdir()
    (tmp_path / "x.json" / "inside").touch()
    with pytest.raises(FeatalignError, match=r"x\.json: cannot be written"):
        write_atomically(tmp_path / "x.json", "new")
    assert names(tmp_path) == ["x.json"]


def test_file_where_a_folder_is_needed(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FeatalignError, match=r"y\.json: cannot be written \(.*file is a file, not a folder\)"):
        write_atomically(tmp_path / "file" / "y.json", "new")


def test_link_to_nothing_where_a_folder_is_needed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("gone")
    with pytest.raises(
        FeatalignError, match=r"y\.json: cannot be written \(.*link is a link to gone, which does not exist\)"
    ):
        write_atomically(tmp_path / "link" / "y.json", "new")
