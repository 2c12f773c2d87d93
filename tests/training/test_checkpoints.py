from __future__ import annotations

import hashlib
import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from featalign.errors import FeatalignError
from featalign.training import checkpoints
from featalign.training.checkpoints import Checkpoint, read_checkpoints, write_checkpoint


def checkpoint(step: int, *, validated: bool = False, average: bool = True) -> Checkpoint:
    torch.manual_seed(step)
    model = {"a.weight": torch.randn(3, 2), "a.count": torch.tensor(step)}
    momentum = {"state": {0: {"momentum_buffer": torch.randn(3, 2)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
    return Checkpoint(
        step=step,
        validated=validated,
        model=model,
        average={"module.a.weight": torch.randn(3, 2)} if average else None,
        trainer={"optimizer": momentum, "scheduler": {"last_epoch": step}, "scaler": {}},
        record={"best": {"miou": float("nan")}, "log_bytes": 7},
    )


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def same(found: object, wanted: Checkpoint) -> bool:
    """Bit for bit."""
    assert isinstance(found, Checkpoint)
    assert found.model.keys() == wanted.model.keys()
    pairs = [(found.model[name], wanted.model[name]) for name in wanted.model]
    if wanted.average is not None and found.average is not None:
        pairs += [(found.average[name], wanted.average[name]) for name in wanted.average]
    buffers = [c.trainer["optimizer"]["state"][0]["momentum_buffer"] for c in (found, wanted)]
    return (
        (found.step, found.validated, str(found.record)) == (wanted.step, wanted.validated, str(wanted.record))
        and (found.average is None) == (wanted.average is None)
        and found.trainer["scheduler"] == wanted.trainer["scheduler"]
        and all(torch.equal(one, other) for one, other in [*pairs, (buffers[0], buffers[1])])
    )


@pytest.mark.parametrize("average", [True, False])
def test_what_was_written_is_read(tmp_path: Path, average: bool) -> None:
    wanted = checkpoint(5, average=average)
    write_checkpoint(wanted, tmp_path / "new")
    found = list(read_checkpoints(tmp_path / "new"))
    assert len(found) == 1 and same(found[0], wanted)


def test_two_are_kept_newest_first(tmp_path: Path) -> None:
    for wanted in (checkpoint(9), checkpoint(10), checkpoint(10, validated=True), checkpoint(11)):
        write_checkpoint(wanted, tmp_path)
    assert names(tmp_path) == ["step-00000010-validated", "step-00000011"]
    found = [c for c in read_checkpoints(tmp_path) if isinstance(c, Checkpoint)]
    assert [(c.step, c.validated) for c in found] == [(11, False), (10, True)]


def test_writing_the_same_again_replaces_it(tmp_path: Path) -> None:
    write_checkpoint(checkpoint(3), tmp_path)
    write_checkpoint(replace(checkpoint(3), record={"log_bytes": 8}), tmp_path)
    (found,) = read_checkpoints(tmp_path)
    assert isinstance(found, Checkpoint) and found.record == {"log_bytes": 8}
    assert names(tmp_path) == ["step-00000003"]


def test_nothing_to_read(tmp_path: Path) -> None:
    assert list(read_checkpoints(tmp_path / "absent")) == []


@pytest.mark.parametrize("file", ["model.safetensors", "average.safetensors", "trainer.pt", "state.json"])
@pytest.mark.parametrize("harm", ["flip", "truncate", "remove", "empty"])
def test_damaged_one_gives_way_to_the_one_before(tmp_path: Path, file: str, harm: str) -> None:
    wanted = checkpoint(1)
    write_checkpoint(wanted, tmp_path)
    write_checkpoint(checkpoint(2), tmp_path)
    path = tmp_path / "step-00000002" / file
    content = bytearray(path.read_bytes())
    if harm == "flip":
        at = content.index(b"log_bytes") + 12 if file == "state.json" else len(content) // 2
        content[at] ^= 1
    path.write_bytes({"truncate": content[: len(content) // 2], "empty": b""}.get(harm, content))
    if harm == "remove":
        path.unlink()
    damaged, before = read_checkpoints(tmp_path)
    assert isinstance(damaged, FeatalignError)
    assert "step-00000002: checkpoint cannot be read" in str(damaged)
    assert same(before, wanted)


class Bomb:
    """Runs code when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_nothing_is_ever_unpickled(tmp_path: Path) -> None:
    """Not even where the digest fits: whoever can write one file can write the other."""
    write_checkpoint(checkpoint(1), tmp_path)
    folder, struck = tmp_path / "step-00000001", tmp_path / "struck"
    for content in (pickle.dumps(Bomb(struck)), checkpoints._pickled({"optimizer": Bomb(struck)})):
        (folder / "trainer.pt").write_bytes(content)
        sealed = json.loads((folder / "state.json").read_text())
        sealed["sha256"]["trainer.pt"] = hashlib.sha256(content).hexdigest()
        (folder / "state.json").write_text(json.dumps(sealed))
        (found,) = read_checkpoints(tmp_path)
        assert isinstance(found, FeatalignError)
        assert not struck.exists()


def test_full_disk_leaves_the_earlier_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = checkpoint(1)
    write_checkpoint(wanted, tmp_path)

    def full(path: Path, content: bytes) -> None:
        path.write_bytes(content[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "_write_through", full)
    with pytest.raises(FeatalignError, match=r"step-00000002: checkpoint cannot be written \(No space left on dev"):
        write_checkpoint(checkpoint(2), tmp_path)
    assert names(tmp_path) == ["step-00000001"]
    (found,) = read_checkpoints(tmp_path)
    assert same(found, wanted)


def test_what_a_killed_process_left_is_not_read_and_goes(tmp_path: Path) -> None:
    write_checkpoint(checkpoint(1), tmp_path)
    for name in (".step-00000002.tmp", ".step-00000001.old.tmp"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "state.json").touch()
    assert len(list(read_checkpoints(tmp_path))) == 1
    write_checkpoint(checkpoint(2), tmp_path)
    assert names(tmp_path) == ["step-00000001", "step-00000002"]
