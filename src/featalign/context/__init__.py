"""What looks far: context modules for the coarsest map."""

from featalign.context.aligncm import AlignCM
from featalign.context.aspp import ASPP
from featalign.context.contexts import CONTEXTS, context_factory
from featalign.context.ocr import ObjectContext
from featalign.context.psp import PyramidPooling
from featalign.context.rcca import RCCA

__all__ = ["ASPP", "CONTEXTS", "RCCA", "AlignCM", "ObjectContext", "PyramidPooling", "context_factory"]
