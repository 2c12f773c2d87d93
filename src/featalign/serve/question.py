"""What is asked about an image, and what that costs."""

from __future__ import annotations

from dataclasses import dataclass, replace

from featalign.errors import ConfigError
from featalign.inference.network import Size
from featalign.inference.views import Views
from featalign.serve.problems import RequestError, TooLargeError
from featalign.serve.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Question:
    """``size``: of the answer; ``input_size``: to which the image is resized first; both default to the image's own."""

    size: Size | None = None
    input_size: Size | None = None
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False

    def views(self, usual: Views) -> Views:
        """The service's usual views with these scales and mirror images. Raises RequestError."""
        try:
            return replace(usual, scales=self.scales, flip=self.flip)
        except ConfigError as error:
            raise RequestError(str(error)) from error

    def network_pixels(self, image: Size) -> int:
        """What the network sees of an image of this size, all views together."""
        height, width = self.input_size or image
        seen = sum(max(1, round(height * scale)) * max(1, round(width * scale)) for scale in self.scales)
        return seen * (2 if self.flip else 1)

    def check(self, image: Size, settings: Settings) -> None:
        """Refuse what would cost more than is allowed. Raises TooLargeError."""
        height, width = self.size or image
        if height * width > settings.max_answer_pixels:
            raise TooLargeError(
                f"size: {height}x{width} = {height * width:,} pixels, more than the {settings.max_answer_pixels:,} "
                "that this service answers; ask for a smaller one"
            )
        seen = self.network_pixels(image)
        if seen > settings.max_network_pixels:
            raise TooLargeError(
                f"the network would see {seen:,} pixels, more than the {settings.max_network_pixels:,} that this "
                "service allows; set a smaller input_size, fewer scales or no flip"
            )
