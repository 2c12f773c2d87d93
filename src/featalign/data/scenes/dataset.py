"""Scenes as a torch data set."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch.utils.data import Dataset
from torchvision import tv_tensors

from featalign.data.sample import Sample
from featalign.data.scenes.labels import SCENE_CLASSES
from featalign.data.scenes.scene import Scene


class SceneDataset(Dataset[Sample]):
    """``count`` scenes drawn at ``size``; the same seed gives the same scenes at every size.

    Args:
        count: number of scenes.
        size: (height, width) of the images.
        seed: of the whole set. Sets of different seeds share no scene; a longer set begins with the shorter one.
        mask_size: (height, width) of the masks, drawn exactly at that size; the images' by default.
        cache: keep every drawn sample in memory (one image and mask each).
        transform: applied to every sample that is handed out.
    """

    classes = SCENE_CLASSES

    def __init__(
        self,
        count: int,
        size: tuple[int, int],
        *,
        seed: int = 0,
        mask_size: tuple[int, int] | None = None,
        cache: bool = True,
        transform: Callable[[Sample], Sample] | None = None,
    ) -> None:
        self.count = count
        self.size = size
        self.seed = seed
        self.mask_size = mask_size or size
        self.transform = transform
        self._cache: dict[int, Sample] | None = {} if cache else None

    def __len__(self) -> int:
        return self.count

    def scene(self, index: int) -> Scene:
        """The scene itself, to be asked at any size or point. Raises IndexError outside 0 … count-1."""
        if not 0 <= index < self.count:
            raise IndexError(f"scene {index} of {self.count}")
        (state,) = np.random.SeedSequence((self.seed, index)).generate_state(1, np.uint64)
        return Scene.random(int(state))

    def __getitem__(self, index: int) -> Sample:
        sample = self._drawn(index)
        return sample if self.transform is None else self.transform(sample)

    def _drawn(self, index: int) -> Sample:
        if self._cache is None:
            return self._render(index)
        if index not in self._cache:
            self._cache[index] = self._render(index)
        return self._cache[index].copy()

    def _render(self, index: int) -> Sample:
        scene = self.scene(index)
        image = torch.from_numpy(scene.image(self.size)).permute(2, 0, 1).contiguous()
        mask = torch.from_numpy(scene.labels(self.mask_size))
        return Sample(image=tv_tensors.Image(image), mask=tv_tensors.Mask(mask), name=f"scene-{self.seed}-{index:05d}")
