"""khulasa.pipeline: documents, stages and the pipeline that streams them."""

from .document import Document, References
from .pipeline import Pipeline

__all__ = ["Document", "Pipeline", "References"]
