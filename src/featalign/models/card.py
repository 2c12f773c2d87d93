"""A model card: what a network is, what it learnt from, how well it does and under which protocol, and how it is used.

Only what is known is said; what nobody stated is called not stated.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from featalign.models.licenses import backbone_license, license_metadata
from featalign.models.network import SegmentationNetwork
from featalign.models.papers import papers_of
from featalign.version import __version__

NOT_STATED = "not stated"
_DATA_SET = re.compile(r"[\w.-]+(/[\w.-]+)?")  # as the hub names one


@dataclass(frozen=True)
class Stated:
    """What only the person who shares a model can say.

    Attributes:
        license: of the model's weights; None: that of the pretrained backbone, if timm states one.
        data: name of the data set that the model learnt from.
        data_license: of that data.
    """

    license: str | None = None
    data: str | None = None
    data_license: str | None = None


@dataclass(frozen=True)
class Origin:
    """Where the weights come from.

    Attributes:
        backbone: what the backbone began with: True for timm's weights, False for random ones, the name of a file, or
            None where it is not recorded.
        model: the weights that training began with besides, by the name of their file or folder.
        facts: (what, value) of the training, for a table.
        aim: the published result that training aimed at, in words.
    """

    backbone: bool | str | None = None
    model: str | None = None
    facts: Sequence[tuple[str, str]] = ()
    aim: str = ""


@dataclass(frozen=True)
class Measured:
    """Scores, each a share of 1 or None, and the protocol they were taken by, in words.

    ``iou``: by name of the class.
    """

    protocol: str
    scores: Mapping[str, float | None]
    iou: Mapping[str, float | None]


@dataclass(frozen=True)
class ModelCard:
    """Everything that a card is made of besides the network itself."""

    title: str
    stated: Stated = field(default_factory=Stated)
    origin: Origin = field(default_factory=Origin)
    measured: Sequence[Measured] = ()
    versions: Mapping[str, str] = field(default_factory=dict)

    def text(self, model: SegmentationNetwork, *, source: str) -> str:
        """Markdown with front matter as the hub reads it. ``source``: the name on the hub, or of the folder."""
        parts = [
            f"---\n{yaml.safe_dump(self._metadata(model), sort_keys=False, allow_unicode=True)}---\n\n# {self.title}",
            _purpose(model),
            _use(model, source),
            f"## Classes\n\n{_classes(model)}",
            f"## Training\n\n{self._training()}",
            f"## Metrics\n\n{_metrics(self.measured, model.classes.names)}",
            f"## Licences\n\n{self._licenses(model)}",
            f"## Limits\n\n{_limits(model)}",
            f"## Papers\n\n{_list(papers_of(model.config))}",
            f"## Versions\n\n{_table(('package', 'version'), (self.versions or _VERSION).items())}",
        ]
        return "\n\n".join(parts) + "\n"

    def _metadata(self, model: SegmentationNetwork) -> dict[str, Any]:
        parts = [model.config.get(part) for part in ("name", "align", "backbone")]
        return {
            "library_name": "featalign",
            "pipeline_tag": "image-segmentation",
            **license_metadata(self._license(model)),
            "tags": ["semantic-segmentation", "feature-alignment", *dict.fromkeys(str(part) for part in parts if part)],
            **({"datasets": [data]} if _DATA_SET.fullmatch(data := self.stated.data or "") else {}),
        }

    def _license(self, model: SegmentationNetwork) -> str | None:
        if self.stated.license or self.origin.backbone is not True or self.origin.model:
            return self.stated.license
        return backbone_license(str(model.config.get("backbone")))[1]

    def _training(self) -> str:
        rows = [("data", self.stated.data or NOT_STATED), *self.origin.facts]
        return _table(("", ""), rows) + (f"\n\nAims at {self.origin.aim}." if self.origin.aim else "")

    def _licenses(self, model: SegmentationNetwork) -> str:
        rows = [
            ("this model", self._license(model) or NOT_STATED),
            ("weights that the backbone began with", _backbone(self.origin.backbone, model)),
            ("training data", self.stated.data_license or NOT_STATED),
        ]
        if self.origin.model:
            rows.insert(2, ("weights that training began with", f"{self.origin.model}: {NOT_STATED}"))
        return _table(("of", "licence"), rows)


_VERSION = {"featalign": __version__}


def _purpose(model: SegmentationNetwork) -> str:
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    choices = ", ".join(f"{key} `{model.config[key]}`" for key in ("align", "backbone") if key in model.config)
    return (
        f"Semantic segmentation: one of {len(model.classes)} classes for every pixel of an image, at any output size. "
        f"Network `{model.config['name']}` ({choices}), {millions:.2f} M parameters, "
        "of featalign."
    )


def _use(model: SegmentationNetwork, source: str) -> str:
    depth = model.normalization.depth
    image = "street.jpg" if depth == 8 and model.in_channels in (1, 3) else "image.npy"
    return f"""## How to use

```python
import featalign
model = featalign.load("{source}")
labels = featalign.Predictor(model)("{image}").labels  # class ids, (height, width) of the image
```

```bash
featalign predict {f"hub:{source}" if "/" in source else source} images/ --out answers/
```

Images have {model.in_channels} channels of {depth} bits with values from 0 to {model.normalization.scale:g}; the
network's own normalization, mean {list(model.normalization.mean)} and deviation
{list(model.normalization.std)} of values divided by {model.normalization.scale:g}, is applied by the predictor."""


def _classes(model: SegmentationNetwork) -> str:
    pairs = zip(model.classes.names, model.classes.colors, strict=True)
    rows = [(str(i), name, "#{:02x}{:02x}{:02x}".format(*color)) for i, (name, color) in enumerate(pairs)]
    return _table(("id", "class", "colour"), rows)


def _backbone(began: bool | str | None, model: SegmentationNetwork) -> str:
    if began is None:
        return f"{NOT_STATED}: the stored model does not record them"
    if began is False:
        return "none, it began with random weights"
    if isinstance(began, str):
        return f"{began}: {NOT_STATED}"
    name, license = backbone_license(str(model.config.get("backbone")))
    return f"{name}: {license or NOT_STATED}{' (as timm states it)' if license else ''}"


def _metrics(measured: Sequence[Measured], classes: Sequence[str]) -> str:
    if not measured:
        return "None were recorded."
    heads = [f"({number})" for number, _ in enumerate(measured, 1)]
    names = dict.fromkeys(name for one in measured for name in one.scores)
    rows = [(name, *(_percent(one.scores.get(name)) for one in measured)) for name in names]
    rows += [(f"IoU of {name}", *(_percent(one.iou.get(name)) for one in measured)) for name in classes]
    protocols = "\n".join(f"{number}. {one.protocol}" for number, one in enumerate(measured, 1))
    return f"In percent, by these protocols:\n\n{protocols}\n\n{_table(('', *heads), rows)}"


def _limits(model: SegmentationNetwork) -> str:
    return _list(
        [
            "It knows the classes above and gives each pixel one of them, also where none fits.",
            "It has been measured on nothing but what is listed under Metrics; images of other places, cameras or "
            "seasons can be answered much worse.",
            f"Pixels labelled {model.classes.ignore_index} were ignored, in training and in the scores.",
        ]
    )


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2f}"
