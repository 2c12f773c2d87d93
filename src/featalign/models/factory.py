"""Networks by name."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from featalign.backbones import normalization_of
from featalign.errors import ConfigError, did_you_mean
from featalign.models.alignseg import alignseg
from featalign.models.choices import check_choices, choices_of
from featalign.models.deeplab import deeplabv3plus
from featalign.models.fapn import fapn, fapn_realtime
from featalign.models.fpn import fpn
from featalign.models.hrnet import hrnet, hrnet_ocr
from featalign.models.pspnet import pspnet
from featalign.models.segmentor import Segmentor
from featalign.models.semantic_fpn import semantic_fpn
from featalign.models.sfnet import sfnet
from featalign.spec import Classes

_BUILDERS: dict[str, Callable[..., Segmentor]] = {
    "alignseg": alignseg,
    "deeplabv3plus": deeplabv3plus,
    "fapn": fapn,
    "fapn_realtime": fapn_realtime,
    "fpn": fpn,
    "hrnet": hrnet,
    "hrnet_ocr": hrnet_ocr,
    "pspnet": pspnet,
    "semantic_fpn": semantic_fpn,
    "sfnet": sfnet,
}
_PARTS = ("align", "context")  # options of several networks, whose names may be another's


def create_model(name: str, *, classes: int | Sequence[str] | Classes, **options: Any) -> Segmentor:
    """Build a network: ``create_model("fpn", align="ifa", backbone="resnet50", classes=19)``.

    Args:
        name: one of :func:`list_models`.
        classes: how many, their names, or names with colours.
        options: keyword arguments of the network's own builder, such as ``featalign.models.fpn.fpn``;
            :func:`model_options` lists them, :func:`model_choices` what can be said for ``align``, ``context`` and
            the like.

    Raises:
        ConfigError: for an unknown name, option or value, or parts that do not go together; the message has the
            nearest spelling, or those that do.
    """
    builder = _builder(name)
    known = model_options(name)
    for option in options:
        if option not in known:
            raise ConfigError(f'model "{name}" has no option "{option}": {did_you_mean(option, known)}')
    _check_choices(name, options)
    model = builder(as_classes(classes), **options)
    chosen = known | options
    model.normalization = normalization_of(chosen["backbone"], model.in_channels, pretrained=chosen["pretrained"])
    if not any(callable(value) for value in options.values()):  # a part of the user's own has no name to store
        model.config = {"name": name, **{key: _plain(value) for key, value in chosen.items()}}
    return model


def add_network(name: str, builder: Callable[..., Segmentor]) -> None:
    """Make a network of your own known by name: to :func:`create_model`, and so to recipes, training and stored models.

    Args:
        name: a new one.
        builder: ``builder(classes, *, …)``, every option keyword-only with a default. Recipes give it ``backbone``,
            ``pretrained`` and ``in_channels``, and ``align``, ``width`` and ``aspp`` where they say something for them.
            Images are then normalized as timm says of the backbone's weights.
            The network has a module ``backbone``, whose learning rate may differ from all else's.

    Raises:
        ConfigError: for a name that is taken, or a builder without options that recipes give.
    """
    if name in _BUILDERS:
        raise ConfigError(f'the name "{name}" is taken; choose another')
    given = {"backbone", "pretrained", "in_channels"}
    parameters = inspect.signature(builder).parameters.values()
    missing = given - {p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}
    if missing:
        raise ConfigError(f'the builder of "{name}" lacks the keyword-only options {", ".join(sorted(missing))}')
    _BUILDERS[name] = builder


def list_models() -> list[str]:
    """The names that :func:`create_model` knows."""
    return sorted(_BUILDERS)


def model_options(name: str) -> dict[str, Any]:
    """The options of a network with their defaults."""
    parameters = inspect.signature(_builder(name)).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}


def model_choices(name: str) -> dict[str, tuple[str, ...]]:
    """The options of a network that take one of several names, with these names; ``align`` and ``context`` among them.

    >>> model_choices("alignseg")["context"]
    ('aligncm', 'aspp', 'psp', 'rcca', 'none')
    """
    return choices_of(_builder(name))


def _check_choices(name: str, options: Mapping[str, Any]) -> None:
    """As :func:`~featalign.models.choices.check_choices`; for a part of another network, says of which."""
    choices = model_choices(name)
    for option in _PARTS:
        value, accepted = options.get(option), choices.get(option, ())
        if option not in options or value in accepted:
            continue
        hosts = [host for host in list_models() if value in model_choices(host).get(option, ())]
        if hosts:
            here = [f', and here as {other}="{value}"' for other, names in choices.items() if value in names]
            raise ConfigError(
                f'model "{name}" does not take {option} "{value}"; it takes {", ".join(accepted)}; '
                f'"{value}" goes with {", ".join(hosts)}{"".join(here)}'
            )
    check_choices(_builder(name), options, network=f'model "{name}"')


def _builder(name: str) -> Callable[..., Segmentor]:
    if name not in _BUILDERS:
        raise ConfigError(f'unknown model "{name}": {did_you_mean(name, _BUILDERS)}')
    return _BUILDERS[name]


def as_classes(classes: int | Sequence[str] | Classes) -> Classes:
    """Classes from their number or their names. Raises ConfigError if there is none, or they are neither."""
    if isinstance(classes, Classes):
        named = classes
    elif isinstance(classes, Sequence) and not isinstance(classes, str) and all(isinstance(n, str) for n in classes):
        named = Classes.named(classes)
    else:
        named = Classes.numbered(_count(classes))
    if not len(named):
        raise ConfigError("classes must be at least 1, got none")
    return named


def _count(classes: Any) -> int:
    try:
        count = operator.index(classes)
    except TypeError:
        raise ConfigError(f"classes must be how many there are, or their names; got {classes!r}") from None
    if count < 1:
        raise ConfigError(f"classes must be at least 1, got {count}")
    return count


def _plain(value: Any) -> Any:
    """As JSON gives it back."""
    return list(value) if isinstance(value, tuple) else value
