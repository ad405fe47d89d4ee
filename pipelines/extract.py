"""Documents of a batch to rows of the dataset: tokenise, forward, read features off, put back into corpus order.

While the device has the micro-batches of some documents, the next ones are tokenised and handed over; only then is it
asked for results. What a document does wrong costs that document: it is set aside with a reason, and its neighbours are
computed again without it. A lost device raises ProcessError.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, MutableMapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from pipelines.assembly import Computed, Extracted
from pipelines.chunk import Chunk, chunks
from pipelines.device_queue import DeviceQueue, Launched, Pass
from pipelines.documents import Batch, Reason
from pipelines.errors import SurroundingsError
from pipelines.features.columns import feature_fields
from pipelines.features.shared import load_features, text_reading
from pipelines.kept import Kept
from pipelines.memory import give_back
from pipelines.parts.schema import row_schema as _row_schema
from pipelines.readings.inputs import Inputs, Reading, Unfit
from pipelines.recall import Recall
from pipelines.roberta.checkpoint import on_this_machine, verify
from pipelines.roberta.config import EncoderConfig, parse_config, read_json
from pipelines.roberta.cost import token_costs
from pipelines.roberta.failures import is_out_of_memory
from pipelines.roberta.native import refuse_dtype
from pipelines.roberta.tokenizer import Tokenizer
from pipelines.spec import Dtype, Long, ModelRef, RunSpec
from pipelines.streams import Streams
from pipelines.suspicion import NO_SUSPICION, Suspicion
from pipelines.token_budget import budget_of
from pipelines.work import Taking, Work

TOKENIZE_DOCUMENTS = 1024

Indices = npt.NDArray[np.intp]

Progress = Callable[[int, int], None]
"""Called with the documents and tokens done since the last call; may raise, which ends the batch."""


def row_schema(spec: RunSpec) -> pa.Schema:
    """The columns of a run's dataset; no model is loaded for it."""
    fields = [column for feature in spec.features for column in feature_fields(feature)]
    return _row_schema(fields, spec.corpus.keep, windows=spec.long.policy is Long.WINDOW)


class Extractor:
    """A run's models on one device.

    ``device`` is ``cpu`` or ``cuda``; ``token_budget`` is in equivalent tokens per micro-batch
    (:mod:`pipelines.roberta.cost`), on CUDA in tokens, measured where none is given; ``budgets`` is where budgets are
    remembered, also those that memory was too small for. With ``once`` equal texts are computed once
    (:mod:`pipelines.recall`). Raises RunError where a model is not the one that was pinned, InputError where it cannot
    be read, SurroundingsError where the device is not there, too small, or without the run's number format.
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
        refuse_dtype(spec.dtype, self._device)
        self._recall = Recall() if once else None
        self.spec = spec = _with_models_here(spec)
        self.schema = row_schema(spec)
        models = {model.tokenizer_digest + model.digest: model for model in _models(spec)}
        for model in models.values():
            verify(model)
        tokenizers = {model.tokenizer_digest: _tokenizer(model) for model in models.values()}
        self._streams = Streams(self._device)
        self._forwards = self._streams.call(lambda: load_features(spec, self._device, tokenizers))
        self._measuring = text_reading(spec, spec.model, tokenizers[spec.model.tokenizer_digest])
        known = {} if budgets is None else budgets
        self._budgets = [
            self._streams.call(partial(budget_of, forward, spec.dtype, given=token_budget, known=known))
            for forward in self._forwards
        ]
        encoders = {id(forward.encoder): forward.encoder.nbytes for forward in self._forwards}
        heads = [feature.nbytes for forward in self._forwards for feature in forward.features]
        self.nbytes = sum(encoders.values()) + sum(heads)
        give_back()  # weights as they were stored, and what calibrating took

    def extract(
        self,
        batch: Batch,
        on_progress: Progress = lambda *_: None,
        *,
        on_taking: Taking = lambda *_: None,
        suspicion: Suspicion = NO_SUSPICION,
    ) -> Extracted:
        """Compute the rows of a batch, as :meth:`compute` does, and put them together."""
        return self.compute(batch, on_progress, on_taking=on_taking, suspicion=suspicion).assemble()

    def compute(
        self,
        batch: Batch,
        on_progress: Progress = lambda *_: None,
        *,
        on_taking: Taking = lambda *_: None,
        suspicion: Suspicion = NO_SUSPICION,
    ) -> Computed:
        """The device's share of a batch; what is left needs no device.

        ``on_progress`` is called after each stretch of work; what it raises is passed on. ``suspicion`` is what earlier
        attempts that killed their process left: suspects are computed first and by themselves, the guilty rejected.
        Raises ProcessError where the device is lost.
        """
        work = Work(batch.documents, on_taking, suspicion)
        if self._recall is not None:
            work.find_repeats(self._recall)
        queue, made = DeviceQueue(work, self._streams.most_waiting), list[Chunk]()
        try:
            for group in work.groups():
                made += self._compute_group(work, queue, group, on_progress)
        finally:
            queue.drop()
        on_taking("", ())
        if work.repeats or work.recalled:
            work.fill_repeats()
            on_progress(len(work.repeats) + len(work.recalled), 0)
        features = [forward.features for forward in self._forwards]
        return Computed(self.spec, self.schema, features, batch, work, made, self._recall)

    def _compute_group(self, work: Work, queue: DeviceQueue, group: Indices, on_progress: Progress) -> Iterator[Chunk]:
        """Compute some documents, by index, chunk by chunk."""
        before: Chunk | None = None
        for documents in chunks(group):
            chunk = self._launch(work, queue, documents, on_progress)
            if before is not None:  # the device had it while this one was tokenised
                self._collect(work, queue, queue.rest(before.passes), on_progress)
            yield chunk
            before = chunk
        self._collect(work, queue, queue.rest(), on_progress)

    def _launch(self, work: Work, queue: DeviceQueue, documents: Indices, on_progress: Progress) -> Chunk:
        """Tokenise some documents and hand them to the device, micro-batch by micro-batch."""
        measured = self._sight(self.spec.model, self._measuring)
        readings = {self._sight(forward.model, forward.reading): forward.reading for forward in self._forwards}
        readings[measured] = self._measuring
        read = {sight: self._read(work, queue, documents, reading, on_progress) for sight, reading in readings.items()}
        passes = []
        for number, forward in enumerate(self._forwards):
            inputs = read[self._sight(forward.model, forward.reading)]
            kept = Kept([inputs.get(place) for place in range(len(documents))])
            one = Pass(number, documents, kept, self._costs(kept.lengths, forward.encoder.config))
            rows = kept.rows_of(work.places(documents))
            for group in self._budgets[number].micro_batches(one.costs[rows], self._streams.count):
                self._forward(work, queue, one, [rows[group]], on_progress)
                self._collect(work, queue, queue.done(), on_progress)
            passes.append(kept)
        return Chunk(documents, read[measured], tuple(passes))

    def _costs(self, lengths: npt.NDArray[np.int64], config: EncoderConfig) -> npt.NDArray[np.float64]:
        """What rows count for in a micro-batch. On CUDA their tokens: budgets are whole waves of tiles of tokens."""
        return lengths.astype(np.float64) if self._device.type == "cuda" else token_costs(lengths, config)

    def _read(
        self, work: Work, queue: DeviceQueue, documents: Indices, reading: Reading, on_progress: Progress
    ) -> dict[int, Inputs]:
        """The inputs of each of these documents, by its place among them; none of documents that were rejected."""
        read: dict[int, Inputs] = {}
        places = work.places(documents)
        for start in range(0, len(places), TOKENIZE_DOCUMENTS):
            pending = [places[start : start + TOKENIZE_DOCUMENTS]]
            while pending:
                part = pending.pop()
                queue.take("tokenise", documents[part])
                try:
                    inputs = reading.read([work.documents[index] for index in documents[part]])
                except Exception as error:
                    pending += work.split_or_reject(part, error, documents)
                    continue
                for place, one in zip(part.tolist(), inputs, strict=True):
                    if isinstance(one, Unfit):
                        work.reject(documents[place], one.reason, one.detail)
                    else:
                        read[place] = one
            on_progress(0, 0)
        return read

    def _sight(self, model: ModelRef, reading: Reading) -> Hashable:
        """What a model is given of a text depends on these alone: its tokenizer, how many tokens it takes, and how
        the text is read.
        """
        return model.tokenizer_digest, min(self.spec.max_tokens, model.token_limit), reading.key

    def _forward(
        self,
        work: Work,
        queue: DeviceQueue,
        one: Pass,
        pending: list[Indices],
        on_progress: Progress,
        *,
        alone: bool = False,
    ) -> None:
        """Hand micro-batches of rows to the device, last first, and in halves of halves what fails."""
        forward, kept = self._forwards[one.number], one.kept
        while pending:
            part = pending.pop()
            documents = np.unique(one.owners[part])
            queue.take("forward", documents)
            rows, notes = [kept.rows[row] for row in part], [kept.notes[row] for row in part]
            try:
                outcome = self._streams.launch(partial(forward.compute, rows, notes))
            except Exception as error:
                pending = self._instead(work, one, part, error, pending, on_progress)
            else:
                queue.put(Launched(one, part, documents, outcome, alone))

    def _collect(self, work: Work, queue: DeviceQueue, launched: Iterable[Launched], on_progress: Progress) -> None:
        """Keep what the device has computed."""
        for there in launched:
            one, part = there.of, there.rows
            try:
                computed = there.outcome.values()
            except Exception as error:
                if len(part) == 1 and is_out_of_memory(error) and not there.alone and self._streams.count > 1:
                    # What others took may be what it lacked: it is tried again when nothing is beside it.
                    self._collect(work, queue, queue.rest(), on_progress)
                    self._forward(work, queue, one, [part], on_progress, alone=True)
                    self._collect(work, queue, queue.rest(), on_progress)
                else:
                    instead = self._instead(work, one, part, error, [], on_progress)
                    self._forward(work, queue, one, instead, on_progress)
                continue
            for number, (feature, values) in enumerate(zip(self._forwards[one.number].features, computed, strict=True)):
                for place in one.kept.store(number, part, values):
                    column = feature.spec.columns[0]
                    work.reject(one.documents[place], Reason.NOT_FINITE, f"Column {column} is not a finite number.")
            on_progress(*self._progress(one, part))

    def _instead(
        self, work: Work, one: Pass, part: Indices, error: Exception, rest: list[Indices], on_progress: Progress
    ) -> list[Indices]:
        """What to try instead of a micro-batch that failed and of the rest behind it: its halves, last first."""
        pieces = work.split_or_reject(part, error, one.owners)
        if not pieces:
            on_progress(*self._progress(one, part))
        pending = rest + pieces
        if pieces and is_out_of_memory(error):
            budget = self._budgets[one.number]
            budget.lower(pieces, one.costs)
            return [more[cut] for more in pending for cut in [*budget.micro_batches(one.costs[more])][::-1]]
        return pending

    def _progress(self, one: Pass, part: Indices) -> tuple[int, int]:
        """Documents that are finished with some rows of a pass, and the rows' tokens."""
        finished = int(one.kept.last[part].sum()) if one.number == len(self._forwards) - 1 else 0
        return finished, int(one.kept.lengths[part].sum())


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
