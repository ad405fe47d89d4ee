"""Every exception of penstock; the class says who acts, the message says what was found, wanted and to be done.

::

    PenstockError
    ├── DocumentError          the document: it is quarantined with a reason, the batch goes on
    ├── BatchError             the batch: it is tried again, then becomes a dead letter
    ├── InfrastructureError    nobody's fault: handed back, no attempt used (Redis, storage, disk, shutdown)
    ├── ProcessError           the process: it exits and is started anew (device lost)
    └── RunError               the run stops and a person acts; carries the command's exit code
        ├── UsageError             2   the command line contradicts itself
        ├── InputError             3   no such file, column, model; unreadable input
        │   └── CorpusChangedError 3   the corpus is not the one that was planned
        ├── SurroundingsError      3   Redis away, folder locked by another command, no device
        ├── ForeignFolderError     4   the folder belongs to another spec, or is not ours
        ├── IncompleteError        5   finished, but dead letters or too much in quarantine
        ├── VerificationError      6   the dataset is not what its manifest says
        │   └── UnfaithfulError    6   rows are not what the model gives: the proof before the seal found it
        └── CancelledError         130 cancelled or interrupted
"""

from __future__ import annotations

from typing import ClassVar


class PenstockError(Exception):
    """Root of the tree. ``message`` is one line; ``hint`` says what to do, where the message does not."""

    code: ClassVar[str] = "bug"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()

    def __reduce__(self) -> tuple[type[PenstockError], tuple[str, str]]:
        # Exceptions cross process borders (billiard pickles them); the default would drop the hint.
        return type(self), (self.message, self.hint)


class DocumentError(PenstockError):
    """One document cannot be processed; it goes to the quarantine."""

    code = "document"


class BatchError(PenstockError):
    """One attempt at a batch failed in a way that may be the batch's own fault."""

    code = "batch"


class InfrastructureError(PenstockError):
    """Redis, the storage or a shutdown came in between; the batch is handed back and no attempt is used."""

    code = "infrastructure"
    exit_code = 3


class ProcessError(PenstockError):
    """This process can do no more useful work (device lost); it exits and is started anew."""

    code = "process"


class RunError(PenstockError):
    """The run stops; a person acts."""

    code = "run"
    exit_code = 3


class UsageError(RunError):
    """The command line contradicts itself."""

    code = "usage"
    exit_code = 2


class InputError(RunError):
    """A file, column or model is missing or cannot be read."""

    code = "input"


class CorpusChangedError(InputError):
    """The corpus is not the one that was planned."""

    code = "corpus_changed"


class SurroundingsError(RunError):
    """Something around the run is at fault: Redis, a lock, a device."""

    code = "environment"


class ForeignFolderError(RunError):
    """The output folder belongs to another spec, or is not ours and not empty."""

    code = "foreign_folder"
    exit_code = 4


class IncompleteError(RunError):
    """The run is finished but not sealed: dead letters, or the quarantine is above its limit."""

    code = "incomplete"
    exit_code = 5


class VerificationError(RunError):
    """The dataset differs from its manifest."""

    code = "verification"
    exit_code = 6


class UnfaithfulError(VerificationError):
    """The proof before the seal found rows that are not what the model gives."""

    code = "unfaithful"


class CancelledError(RunError):
    """The run was cancelled or the command interrupted; what is committed stays."""

    code = "cancelled"
    exit_code = 130
