"""What a person asks for becomes a spec. Loads no torch: models are read as files."""

from pipelines.opening.request import Request, make_spec

__all__ = ["Request", "make_spec"]
