"""What brings maps of different resolution into agreement."""

from featalign.align.encoding import GridEmbedding, PositionEncoding
from featalign.align.ifa import ImplicitFunction

__all__ = ["GridEmbedding", "ImplicitFunction", "PositionEncoding"]
