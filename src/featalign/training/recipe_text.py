"""From text to a checked recipe: YAML as people write it, ``key=value`` overrides, and faults in plain lines."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from featalign.errors import ConfigError, did_you_mean

AnyModel = TypeVar("AnyModel", bound=BaseModel)

_ELSEWHERE = {
    "batch_size": "batch",
    "learning_rate": "lr",
    "epochs": "iterations",
    "max_epochs": "iterations",
    "amp": "precision",
    "crop_size": "crop",
    "num_workers": "workers",
    "gradient_accumulation": "accumulate",
    "encoder": "backbone",
}
"""What other libraries call some of our fields."""


class _Loader(yaml.SafeLoader):
    """YAML 1.2's numbers: PyYAML follows YAML 1.1, where ``1e-4`` is a string."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


class _Dumper(yaml.SafeDumper):
    """Sections as blocks, lists on one line."""


_Dumper.add_representer(
    list, lambda dumper, items: dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=True)
)


def parse_yaml(text: str, *, source: str) -> Any:
    """The content of a YAML text. Raises ConfigError naming ``source`` and the line."""
    try:
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that is none
        raise ConfigError(f"{source}: is not YAML: {' '.join(str(error).split())}") from error


def dump_yaml(content: dict[str, Any]) -> str:
    """``content`` as YAML, in its own order."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def validated(model: type[AnyModel], content: object, *, source: str) -> AnyModel:
    """``content`` as a ``model``.

    It goes through JSON because pydantic's strict mode then takes a list for a tuple and an integer for a float,
    yet still refuses "yes" for a number.

    Raises:
        ConfigError: listing every fault, one line each.
    """
    if not isinstance(content, dict):
        raise ConfigError(f"{source}: expected sections {', '.join(model.model_fields)}, got {_shown(content)}")
    try:
        return model.model_validate_json(json.dumps(content, default=str), strict=True)
    except ValidationError as error:
        faults = [_fault(model, detail) for detail in error.errors()]
    if len(faults) == 1:
        raise ConfigError(f"{source}: {faults[0]}")
    raise ConfigError("\n  ".join([f"{source}: {len(faults)} faults", *faults]))


def apply_overrides(content: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Set ``section.key=value`` in ``content``, in place. Unknown keys are set too: validation names them.

    Raises:
        ConfigError: for every entry that is not ``key=value`` or whose key leads through a plain value.
    """
    faults = []
    for entry in overrides:
        try:
            _set(content, entry)
        except ConfigError as error:
            faults.append(str(error))
    if faults:
        raise ConfigError("\n".join(faults))
    return content


def _set(content: dict[str, Any], entry: str) -> None:
    key, equals, text = entry.partition("=")
    *sections, last = (part.strip() for part in key.split("."))
    if not equals or not last or not all(sections):
        raise ConfigError(f'--set: expected key=value such as training.iterations=200, got "{entry}"')
    for section in sections:
        content = content.setdefault(section, {})
        if not isinstance(content, dict):
            raise ConfigError(f'--set {entry}: "{section}" is a value, it has no fields of its own')
    content[last] = parse_yaml(text, source=f"--set {entry}")


def _fault(model: type[BaseModel], detail: ErrorDetails) -> str:
    """One line: where, what was wrong, and the nearest known name of an unknown field."""
    path = detail["loc"]
    where = ".".join(str(part) for part in path)
    if detail["type"] == "extra_forbidden":
        return f"{where}: unknown field, {_hint(model, path)}"
    if detail["type"] == "value_error":
        error = str(detail["ctx"]["error"])
        return f"{where}: {error}" if path else error  # what concerns the whole recipe names its fields itself
    message = detail["msg"].removeprefix("Input ")
    return f"{where}: {message}, got {_shown(detail['input'])}"


def _hint(model: type[BaseModel], path: Sequence[int | str]) -> str:
    """What an unknown field was meant to be: one of that name, ours or another library's, or one spelt alike."""
    name, beside = str(path[-1]), _fields(model, path[:-1])
    ours = _ELSEWHERE.get(name, name)
    if ours in beside:
        return did_you_mean(ours, beside)
    places = [f'"{section}.{ours}"' for section in model.model_fields if ours in _fields(model, [section])]
    return f"did you mean {' or '.join(places)}?" if places else did_you_mean(name, beside)


def _fields(model: type[BaseModel], path: Sequence[int | str]) -> list[str]:
    """The field names of the section that ``path`` leads to."""
    for part in path:
        section = model.model_fields[str(part)].annotation
        if not (isinstance(section, type) and issubclass(section, BaseModel)):
            return []
        model = section
    return list(model.model_fields)


def _shown(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}…"
