"""Documents of a batch to rows of the dataset: tokenise, forward, read features off, put back into corpus order.

What a document does wrong costs that document: it is set aside with a reason, and its neighbours are computed again
without it. A lost device raises ProcessError.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from pipelines.documents import Batch, Document, Reason, Reject, Stage, input_digest, reject_of
from pipelines.errors import SurroundingsError
from pipelines.features.columns import feature_fields
from pipelines.features.shared import SharedForward, load_features, text_reading
from pipelines.kept import Kept
from pipelines.parts.schema import row_schema as _row_schema
from pipelines.readings.inputs import Inputs, Reading, Unfit
from pipelines.roberta.checkpoint import on_this_machine, verify
from pipelines.roberta.config import parse_config, read_json
from pipelines.roberta.cost import token_costs
from pipelines.roberta.failures import is_out_of_memory
from pipelines.roberta.linear import takes_int8
from pipelines.roberta.tokenizer import Tokenizer
from pipelines.spec import Dtype, KeptColumn, Long, ModelRef, RunSpec
from pipelines.suspicion import NO_SUSPICION, Suspicion
from pipelines.token_budget import TokenBudget, budget_of
from pipelines.work import Taking, Work

TOKENIZE_DOCUMENTS = 1024

Progress = Callable[[int, int], None]
"""Called with the documents and tokens done since the last call; may raise, which ends the batch."""


@dataclass(frozen=True, slots=True)
class Extracted:
    """What became of a batch: its rows and its rejects (reading's and extraction's), both in corpus order.

    Counts are over the rows: ``tokens`` before cutting, ``tokens_used`` after, ``truncated`` the documents cut,
    ``repeated`` those that were not computed because an earlier one of the batch has the same text.
    """

    table: pa.Table
    rejects: list[Reject]
    warnings: list[Reject]
    tokens: int
    tokens_used: int
    truncated: int
    repeated: int = 0


def row_schema(spec: RunSpec) -> pa.Schema:
    """The columns of a run's dataset; no model is loaded for it."""
    fields = [column for feature in spec.features for column in feature_fields(feature)]
    return _row_schema(fields, spec.corpus.keep, windows=spec.long.policy is Long.WINDOW)


class Extractor:
    """A run's models on one device.

    ``device`` is ``cpu`` or ``cuda``; ``token_budget`` is in equivalent tokens per micro-batch
    (:mod:`pipelines.roberta.cost`), measured where none is given; ``budgets`` is where budgets are remembered, also
    those that memory was too small for. With ``once`` equal texts of a batch are computed once. Raises RunError where a
    model is not the one that was pinned, InputError where it cannot be read, SurroundingsError where the device is not
    there or too small.
    """

    def __init__(
        self,
        spec: RunSpec,
        *,
        device: str = "cpu",
        token_budget: int | None = None,
        budgets: MutableMapping[str, int] | None = None,
        once: bool = False,
    ) -> None:
        if spec.dtype is Dtype.AUTO:
            raise ValueError(f"dtype {spec.dtype} was not resolved at open: this is a bug")
        self._device = torch.device(device)
        if self._device.type == "cuda" and not torch.cuda.is_available():
            raise SurroundingsError("No CUDA device can be used.", "Choose --devices cpu, or check the driver.")
        if spec.dtype is Dtype.INT8 and not takes_int8(self._device):
            raise SurroundingsError(
                "int8 is computed on CPUs only, by a torch that was built with oneDNN.",
                "Open the run with --dtype bfloat16 or float32.",
            )
        self._once = once
        self.spec = spec = _with_models_here(spec)
        self.schema = row_schema(spec)
        models = {model.tokenizer_digest + model.digest: model for model in _models(spec)}
        for model in models.values():
            verify(model)
        tokenizers = {model.tokenizer_digest: _tokenizer(model) for model in models.values()}
        self._forwards = load_features(spec, self._device, tokenizers)
        self._measuring = text_reading(spec, spec.model, tokenizers[spec.model.tokenizer_digest])
        known = {} if budgets is None else budgets
        self._budgets = [budget_of(forward, spec.dtype, given=token_budget, known=known) for forward in self._forwards]
        encoders = {id(forward.encoder): forward.encoder.nbytes for forward in self._forwards}
        heads = [feature.nbytes for forward in self._forwards for feature in forward.features]
        self.nbytes = sum(encoders.values()) + sum(heads)

    def extract(
        self,
        batch: Batch,
        on_progress: Progress = lambda *_: None,
        *,
        on_taking: Taking = lambda *_: None,
        suspicion: Suspicion = NO_SUSPICION,
    ) -> Extracted:
        """Compute the rows of a batch.

        ``on_progress`` is called after each stretch of work; what it raises is passed on. ``suspicion`` is what earlier
        attempts that killed their process left: suspects are computed first and by themselves, the guilty rejected.
        Raises ProcessError where the device is lost.
        """
        work = Work(batch.documents, on_taking, suspicion)
        if self._once:
            work.find_repeats()
        sight = self._sight(self.spec.model, self._measuring)
        read = {sight: self._read(work, self._measuring, on_progress)}
        passes = []
        for number, (forward, budget) in enumerate(zip(self._forwards, self._budgets, strict=True), start=1):
            sight = self._sight(forward.model, forward.reading)
            if sight not in read:
                read[sight] = self._read(work, forward.reading, on_progress)
            kept = Kept([read[sight].get(index) for index in range(len(work.documents))])
            passes.append(kept)
            costs = token_costs(kept.lengths, forward.encoder.config)
            for alive in work.groups():
                rows = kept.rows_of(alive)
                for group in budget.micro_batches(costs[rows]):
                    for part in self._compute(work, forward, kept, rows[group], budget, costs):
                        finished = int(kept.last[part].sum()) if number == len(self._forwards) else 0
                        on_progress(finished, int(kept.lengths[part].sum()))
        on_taking("", ())
        if work.repeats:
            work.fill_repeats()
            on_progress(len(work.repeats), 0)
        return self._assemble(batch, work, read[self._sight(self.spec.model, self._measuring)], passes)

    def _read(self, work: Work, reading: Reading, on_progress: Progress) -> dict[int, Inputs]:
        """The inputs of each document, by its index; none of documents that were rejected."""
        read: dict[int, Inputs] = {}
        chunks = (
            alive[start : start + TOKENIZE_DOCUMENTS]
            for alive in work.groups()
            for start in range(0, len(alive), TOKENIZE_DOCUMENTS)
        )
        for chunk in chunks:
            pending = [chunk]
            while pending:
                part = pending.pop()
                work.on_taking("tokenise", part)
                try:
                    inputs = reading.read([work.documents[index] for index in part])
                except Exception as error:
                    pending += work.split_or_reject(part, error)
                    continue
                for index, one in zip(part.tolist(), inputs, strict=True):
                    if isinstance(one, Unfit):
                        work.reject(index, one.reason, one.detail)
                    else:
                        read[index] = one
            on_progress(0, 0)
        return read

    def _sight(self, model: ModelRef, reading: Reading) -> Hashable:
        """What a model is given of a text depends on these alone: its tokenizer, how many tokens it takes, and how
        the text is read.
        """
        return model.tokenizer_digest, min(self.spec.max_tokens, model.token_limit), reading.key

    def _compute(
        self,
        work: Work,
        forward: SharedForward,
        kept: Kept,
        group: npt.NDArray[np.intp],
        budget: TokenBudget,
        costs: npt.NDArray[np.float64],
    ) -> Iterator[npt.NDArray[np.intp]]:
        """Forward a micro-batch of rows, in halves of halves where it fails; yields what is done, piece by piece."""
        pending = [group]
        while pending:
            part = pending.pop()
            work.on_taking("forward", dict.fromkeys(kept.owners[part].tolist()))
            try:
                computed = forward.compute([kept.rows[row] for row in part], [kept.notes[row] for row in part])
            except Exception as error:
                pieces = work.split_or_reject(part, error, kept.owners)
                pending += pieces
                if pieces and is_out_of_memory(error):
                    budget.lower(pieces, costs)
                    pending = [rest[cut] for rest in pending for cut in [*budget.micro_batches(costs[rest])][::-1]]
                if pieces:
                    continue
            else:
                for number, (feature, values) in enumerate(zip(forward.features, computed, strict=True)):
                    for index in kept.store(number, part, values):
                        column = feature.spec.columns[0]
                        work.reject(index, Reason.NOT_FINITE, f"Column {column} is not a finite number.")
            yield part

    def _assemble(self, batch: Batch, work: Work, measured: Mapping[int, Inputs], passes: Sequence[Kept]) -> Extracted:
        alive, warnings = work.alive(), list(batch.warnings)
        inputs = [measured[index] for index in work.sources(alive).tolist()]
        table = self._table(work, inputs, passes, warnings) if len(alive) else self.schema.empty_table()
        numbers = iter(range(len(work.documents)))
        found = (item if isinstance(item, Reject) else work.rejected.get(next(numbers)) for item in batch.items)
        return Extracted(
            table=table,
            rejects=[reject for reject in found if reject is not None],
            warnings=warnings,
            tokens=sum(one.n_tokens for one in inputs),
            tokens_used=sum(one.n_used for one in inputs),
            truncated=sum(one.n_used < one.n_tokens for one in inputs),
            repeated=sum(index not in work.rejected for index in work.repeats),
        )

    def _table(self, work: Work, inputs: Sequence[Inputs], passes: Sequence[Kept], warnings: list[Reject]) -> pa.Table:
        alive = work.alive()
        documents, sources = [work.documents[index] for index in alive], work.sources(alive)
        columns: list[pa.Array] = [pa.array([document.id for document in documents], pa.string())]
        made = {
            id(feature.spec): feature.columns(*kept.values(number, sources))
            for forward, kept in zip(self._forwards, passes, strict=True)
            for number, feature in enumerate(forward.features)
        }
        for spec in self.spec.features:
            columns += made[id(spec)]
        columns += [pa.array([one.n_tokens for one in inputs], pa.int32())]
        columns += [pa.array([one.n_used for one in inputs], pa.int32())]
        if self.spec.long.policy is Long.WINDOW:
            columns.append(pa.array([len(one.rows) for one in inputs], pa.int32()))
        columns.append(pa.array([input_digest(document.text, document.pair) for document in documents], pa.binary(16)))
        for number, kept in enumerate(self.spec.corpus.keep):
            columns.append(_kept_column(documents, number, kept, warnings))
        return pa.Table.from_arrays(columns, schema=self.schema)


def _kept_column(documents: Sequence[Document], number: int, kept: KeptColumn, warnings: list[Reject]) -> pa.Array:
    """A kept column; a value that does not fit its type becomes null, with a warning."""
    dtype = kept.field.type
    values = [document.kept[number] for document in documents]
    try:
        return pa.array(values, dtype)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        for index, value in enumerate(values):
            try:
                pa.scalar(value, dtype)
            except (pa.ArrowException, TypeError, ValueError, OverflowError):
                values[index] = None
                detail = f"Column {kept.name}: a value is no {kept.type}, it became null."
                warnings.append(reject_of(documents[index], Stage.WARNING, Reason.KEPT_VALUE, detail))
        return pa.array(values, dtype)


def _with_models_here(spec: RunSpec) -> RunSpec:
    """The spec with its models' paths on this machine, which may not be the one that opened the run."""
    features = tuple(replace(feature, model=on_this_machine(feature.model)) for feature in spec.features)
    return replace(spec, model=on_this_machine(spec.model), features=features)


def _models(spec: RunSpec) -> list[ModelRef]:
    return [spec.model, *(feature.model for feature in spec.features)]


def _tokenizer(model: ModelRef) -> Tokenizer:
    folder = Path(model.path)
    config = parse_config(read_json(folder / "config.json"), model.path)
    return Tokenizer(folder, config.model_type, config.vocab_size)
