"""What looks far: context modules for the coarsest map."""

from featalign.context.aspp import ASPP

__all__ = ["ASPP"]
