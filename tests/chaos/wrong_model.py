"""An engine that is wrong without failing: named by PENSTOCK_INCLUDE, imported by a worker's child in tests only.

It reads every document from its end, as an encoder that gets positions wrong would: the vectors look like any others.
"""

from __future__ import annotations

from typing import Any

from celery.signals import worker_process_init


@worker_process_init.connect
def read_backwards(**_: Any) -> None:
    """Turn the ids of every document around before the encoder sees them."""
    from pipelines.roberta.encoder import Encoder

    forward = Encoder.forward

    def backwards(self: Encoder, rows: Any, **options: Any) -> Any:
        return forward(self, [row[::-1] for row in rows], **options)

    Encoder.forward = backwards  # type: ignore[method-assign]  # replaced on purpose
