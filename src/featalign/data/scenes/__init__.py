"""A fabricated data set: street scenes made of vector shapes, so that exact ground truth exists at every resolution.

A :class:`Scene` is a function of continuous coordinates, (x, y) in [0, 1] with y downwards, x over the image's whole
width and y over its height. Images and labels of any size sample that one function.
"""

from __future__ import annotations

from featalign.data.scenes.dataset import SceneDataset
from featalign.data.scenes.labels import SCENE_CLASSES
from featalign.data.scenes.scene import Scene

__all__ = ["SCENE_CLASSES", "Scene", "SceneDataset"]
