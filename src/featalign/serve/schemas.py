"""What is sent as JSON, besides segmentations."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, FailFast, Field, model_validator
from pydantic_core import PydanticCustomError

from featalign.errors import did_you_mean
from featalign.inference import Network
from featalign.models import Detector, Segmentor

Unit = Annotated[float, Field(ge=0, le=1)]


class ClassInfo(BaseModel):
    """A class as pixels of a label image name it."""

    id: int
    name: str
    color: tuple[int, int, int] = Field(description="Red, green, blue.")


class ModelInfo(BaseModel):
    """A model that can be asked."""

    name: str
    channels: int = Field(description="Of the images it reads.")
    depth: int = Field(description="Of them: bits per channel, 8 or 16.")
    points: bool = Field(description="Whether it can be asked at points.")
    objects: bool = Field(description="Whether it finds objects: /v1/detect, not /v1/segment.")
    classes: list[ClassInfo]

    @classmethod
    def of(cls, name: str, model: Network | Detector) -> ModelInfo:
        """What is to be said of a network."""
        classes = model.classes
        return cls(
            name=name,
            channels=model.in_channels,
            depth=model.normalization.depth,
            points=isinstance(model, Segmentor),
            objects=isinstance(model, Detector),
            classes=[
                ClassInfo(id=i, name=name, color=color)
                for i, (name, color) in enumerate(zip(classes.names, classes.colors, strict=True))
            ],
        )


class KeptImage(BaseModel):
    """An image that can now be asked at points."""

    id: str
    model: str
    height: int
    width: int
    seconds: float = Field(description="For how long it is kept after it was last asked.")


class PointQuery(BaseModel):
    """Points of a kept image."""

    model_config = ConfigDict(extra="forbid")

    id: str = Field(description="From `/v1/images`.", min_length=1, max_length=64)
    # After the first fault no other is looked for: a body can hold very many.
    points: Annotated[list[tuple[Unit, Unit]], FailFast()] = Field(
        description="(x, y), from (0, 0) at the upper left corner of the image to (1, 1) at the lower right.",
        min_length=1,
    )
    probabilities: bool = Field(False, description="Send those of all classes too.")

    @model_validator(mode="before")
    @classmethod
    def _known_fields(cls, body: Any) -> Any:
        unknown = (
            next((name for name in body if name not in cls.model_fields), None) if isinstance(body, dict) else None
        )
        if unknown is not None:
            said = f'no field "{unknown[:60]}"; {did_you_mean(unknown[:60], cls.model_fields)}'
            raise PydanticCustomError("unknown_field", "{said}", {"said": said})
        return body


class PointAnswer(BaseModel):
    """The class at a point."""

    class_id: int
    name: str
    probability: float
    probabilities: list[float] | None = Field(None, description="Of all classes, by id.")


class QueryAnswer(BaseModel):
    """Answers in the order of the points."""

    model: str
    points: list[PointAnswer]


class State(BaseModel):
    """How the service is."""

    status: str
