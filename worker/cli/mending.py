"""What ``run`` and ``resume`` do about a folder that is sealed, before it is only printed."""

from __future__ import annotations

from pipelines.parts.layout import SUCCESS
from pipelines.parts.limit import Limit
from pipelines.parts.mend import is_sound, mend
from pipelines.parts.run_document import RunDocument
from pipelines.parts.store import Store
from tasks.runs import locked


def mend_sealed(store: Store, document: RunDocument, limit: Limit) -> None:
    """Remove what was left over in a sealed folder; a ``_SUCCESS`` of another manifest is mended, or goes too.

    A folder that is sound is not written to: it may be read-only.
    """
    if store.exists(SUCCESS) and not is_sound(store, document):
        with locked(store, command="resume", broker_url=None):
            mend(store, document, limit)
