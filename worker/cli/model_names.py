"""Names of models, as a command line gives them, to what ``checkpoint.find`` takes."""

from __future__ import annotations

from pipelines.roberta.names import resolve
from worker.settings import load, models_folder


def model_source(asked: str) -> str:
    """The path or hub id of a model that was asked for: by path, hub id, known name, or a folder of the user's models.

    Raises InputError for a known name that has to be imported first.
    """
    return resolve(asked, models_folder(load()))


def classifier_source(asked: str) -> str:
    """The same in a value of --classify: ``self``, ``MODEL`` or ``NAME=MODEL``."""
    name, equals, source = asked.partition("=")
    if equals and "/" not in name:
        return f"{name}={model_source(source)}"
    return model_source(asked)
