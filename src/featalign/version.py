"""The version of this library, which stands here alone."""

__version__ = "0.1.0"
