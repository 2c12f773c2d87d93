"""The classes of the scenes."""

from __future__ import annotations

from featalign.spec import Classes

SKY, ROAD, PAVEMENT, BUILDING, TREE, CAR, POLE, SIGN = range(8)

SCENE_CLASSES = Classes(
    names=("sky", "road", "pavement", "building", "tree", "car", "pole", "sign"),
    colors=(
        (142, 202, 230),
        (92, 84, 112),
        (216, 178, 196),
        (190, 122, 82),
        (72, 150, 84),
        (40, 84, 196),
        (250, 204, 50),
        (222, 50, 76),
    ),
)
