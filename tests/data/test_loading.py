from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from torchvision import tv_tensors

from featalign.data import (
    Batch,
    EndlessBatches,
    FolderDataset,
    Sample,
    TrainingLoader,
    collate,
    in_order,
    load_batches,
    train_transform,
)
from featalign.errors import ConfigError, DataError


def indices(batches: EndlessBatches) -> list[int]:
    return [draw.index for batch in batches for draw in batch]


def same(first: list[Batch], second: list[Batch]) -> bool:
    return len(first) == len(second) and all(
        torch.equal(a["image"], b["image"]) and torch.equal(a["mask"], b["mask"]) and a["name"] == b["name"]
        for a, b in zip(first, second, strict=True)
    )


def loader(folder: Path, *, workers: int = 0, stop: int = 5, seed: int = 1) -> TrainingLoader:
    dataset = FolderDataset(folder, "train", transform=train_transform(crop=8, jitter=0.2))
    return TrainingLoader(dataset, EndlessBatches(3, batch=2, seed=seed, stop=stop), workers=workers)


def test_every_epoch_is_a_permutation_and_another_one() -> None:
    drawn = indices(EndlessBatches(10, batch=4, seed=0, stop=25))
    epochs = [tuple(drawn[i : i + 10]) for i in range(0, 100, 10)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len(set(epochs)) == 10


def test_batch_k_depends_on_seed_and_k_alone() -> None:
    whole = list(EndlessBatches(7, batch=3, seed=5, stop=20))
    assert list(EndlessBatches(7, batch=3, seed=5, start=11, stop=20)) == whole[11:]
    assert EndlessBatches(7, batch=3, seed=5, stop=20).at(17) == whole[17]
    assert list(EndlessBatches(7, batch=3, seed=6, stop=20)) != whole


def test_draws_of_one_image_differ() -> None:
    seeds = [draw.seed for batch in EndlessBatches(2, batch=2, seed=0, stop=500) for draw in batch]
    assert len(set(seeds)) == 1000


def test_ranks_share_the_stream_of_one() -> None:
    alone = EndlessBatches(11, batch=6, seed=3, stop=8)
    ranks = [EndlessBatches(11, batch=2, seed=3, stop=8, rank=r, ranks=3) for r in range(3)]
    for k in range(8):
        assert alone.at(k) == list(itertools.chain(*(rank.at(k) for rank in ranks)))


def test_more_in_a_batch_than_there_are_images() -> None:
    assert sorted(indices(EndlessBatches(2, batch=5, seed=0, stop=2))) == [0] * 5 + [1] * 5


def test_length_is_the_total() -> None:
    assert len(EndlessBatches(2, batch=5, seed=0, start=3, stop=9)) == 9


def test_bad_numbers() -> None:
    with pytest.raises(DataError, match="no sample"):
        EndlessBatches(0, batch=1, seed=0, stop=1)
    with pytest.raises(ConfigError):
        EndlessBatches(1, batch=0, seed=0, stop=1)
    with pytest.raises(ConfigError):
        EndlessBatches(1, batch=1, seed=0, stop=1, rank=2, ranks=2)


def test_the_same_batches_with_any_number_of_workers(folder: Path) -> None:
    alone = list(loader(folder))
    assert len(alone) == 5 and alone[0]["image"].shape == (2, 3, 8, 8) and alone[0]["mask"].dtype == torch.int64
    assert type(alone[0]["image"]) is torch.Tensor
    assert same(alone, list(loader(folder, workers=2)))
    assert not same(alone, list(loader(folder, seed=2)))


def test_loading_neither_reads_nor_moves_the_global_generator(folder: Path) -> None:
    torch.manual_seed(1)
    first = list(loader(folder))
    torch.manual_seed(2)
    batches = iter(loader(folder))
    begun = next(batches)
    before = torch.get_rng_state()
    rest = list(batches)
    assert torch.equal(torch.get_rng_state(), before)
    assert same(first, [begun, *rest])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_run_sees_what_an_unbroken_one_sees(folder: Path, workers: int) -> None:
    unbroken = list(loader(folder))
    broken = loader(folder, workers=workers)
    batches = iter(broken)
    seen = [next(batches), next(batches)]
    state = broken.state_dict()
    resumed = loader(folder, workers=workers)
    resumed.load_state_dict(state)
    assert len(resumed) == 5
    assert same(seen + list(resumed), unbroken)


@pytest.mark.parametrize("workers", [0, 1])
def test_errors_of_workers_stay_one_line(folder: Path, workers: int) -> None:
    (folder / "train/images/b.png").write_bytes(b"")
    with pytest.raises(DataError) as raised:
        list(loader(folder, workers=workers))
    assert str(raised.value) == f"{folder}/train/images/b.png: is empty (0 bytes)"


def test_in_order_gives_each_sample_once(folder: Path) -> None:
    dataset = FolderDataset(folder, "train")
    batches = list(load_batches(dataset, in_order(len(dataset)), workers=1))
    assert [batch["name"] for batch in batches] == [["a"], ["b"], ["c"]]
    assert torch.equal(batches[2]["mask"][0], dataset[2]["mask"])
    shared = [draw.index for rank in range(2) for batch in in_order(5, rank=rank, ranks=2) for draw in batch]
    assert sorted(shared) == [0, 1, 2, 3, 4]


def test_sizes_in_a_batch_must_agree() -> None:
    def empty(size: int) -> Sample:
        image, mask = torch.zeros(3, size, 4, dtype=torch.uint8), torch.zeros(size, 4, dtype=torch.int64)
        return {"image": tv_tensors.Image(image), "mask": tv_tensors.Mask(mask), "name": "x"}

    with pytest.raises(DataError, match=r"\(3, 4, 4\), \(3, 5, 4\).*crop them"):
        collate([empty(4), empty(5)])
