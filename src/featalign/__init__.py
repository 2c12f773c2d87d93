"""Feature-aligned dense prediction for PyTorch."""

__version__ = "0.1.0"
