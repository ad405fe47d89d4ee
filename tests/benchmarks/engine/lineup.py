"""Who takes part: each contestant's name, kind, file, what must be installed for it, and how it is tuned.

A contestant is a class ``Contestant`` in a file of peers/ with two methods. ``prepare(model, work, threads)`` loads a
checkpoint folder; what it converts is kept in ``work``. ``embed(texts, batch)`` gives mean-pooled vectors, one row for
each text in order, so many texts in a batch. One that can compute batches side by side takes a third argument: so many
streams, of one thread each if there are several; it opens its model anew when that changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from pipelines.spec import Dtype

BATCHES = (16, 32, 64, 8, 4)


@dataclass(frozen=True, slots=True)
class Entry:
    """A contestant. ``kind`` is the number format: fp32, bf16 or int8.

    Of several ``batches`` the fastest is taken, beginning with the first. One with ``streams`` can compute batches side
    by side, and does so if that is faster. A ``cold`` one is slower over shapes it has not seen: it gets a whole
    pass that does not count.
    """

    name: str
    kind: str
    file: str
    how: str
    arguments: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    batches: tuple[int, ...] = (32,)
    cold: bool = False
    streams: bool = False

    @property
    def ours(self) -> bool:
        """Whether it is penstock."""
        return self.file == "penstock_engine"

    @property
    def missing(self) -> tuple[str, ...]:
        """What it needs and is not installed."""
        return tuple(name for name in self.needs if find_spec(name) is None)


PENSTOCK = "Extractor.extract on batches of 512 documents: no padding, a micro-batch for each core, of calibrated size"
TUNED = "sorted by length; batch size and streams as is fastest: one on all cores, or"
OPENVINO = f"convert_model of the encoder, {TUNED} one for each core (NUM_STREAMS) behind an AsyncInferQueue"
ONNX = f"ONNX opset 17, its own BERT fusions, all optimisations, {TUNED} run() from a thread for each core"
CTRANSLATE = f"its converter for transformers, forward_batch on ids, {TUNED} a worker for each core (inter_threads)"


def ours() -> tuple[Entry, ...]:
    """penstock's engine in each number format that it has on a CPU."""
    formats = {"fp32": "float32", "bf16": "bfloat16", "int8": "int8"}
    there = {dtype.value for dtype in Dtype}
    return tuple(
        Entry(f"penstock {kind}", kind, "penstock_engine", PENSTOCK, (dtype,), batches=(512,))
        for kind, dtype in formats.items()
        if dtype in there
    )


def peers() -> tuple[Entry, ...]:
    """Everyone else."""
    sentences, onnx, ctranslate = ("sentence_transformers",), ("onnx", "onnxruntime"), ("ctranslate2",)
    return (
        Entry(
            "transformers pipeline", "fp32", "transformers_pipeline",
            'pipeline("feature-extraction", batch_size=32), truncation, arrival order: the default',
        ),
        Entry(
            "sentence-transformers fp32", "fp32", "sentence_transformer",
            "encode(batch_size=32), which sorts by length: the default", ("float32",), sentences,
        ),
        Entry(
            "sentence-transformers bf16", "bf16", "sentence_transformer",
            "the same with dtype bfloat16", ("bfloat16",), sentences, BATCHES,
        ),
        Entry("OpenVINO fp32", "fp32", "openvino_graph", OPENVINO, ("f32",), ("openvino",), BATCHES, True, True),
        Entry("OpenVINO bf16", "bf16", "openvino_graph", OPENVINO, ("bf16",), ("openvino",), BATCHES, True, True),
        Entry(
            "OpenVINO int8", "int8", "openvino_graph",
            f"nncf.quantize (transformer, 32 texts); {OPENVINO}", ("int8",), ("openvino", "nncf"), BATCHES, True, True,
        ),
        Entry("ONNX Runtime fp32", "fp32", "onnx_session", ONNX, ("fp32",), onnx, BATCHES, streams=True),
        Entry(
            "ONNX Runtime int8", "int8", "onnx_session", f"quantize_dynamic, QInt8 weights; {ONNX}",
            ("int8",), onnx, BATCHES, streams=True,
        ),
        Entry("CTranslate2 fp32", "fp32", "ctranslate", CTRANSLATE, ("float32",), ctranslate, BATCHES, streams=True),
        Entry("CTranslate2 bf16", "bf16", "ctranslate", CTRANSLATE, ("bfloat16",), ctranslate, BATCHES, streams=True),
        Entry("CTranslate2 int8", "int8", "ctranslate", CTRANSLATE, ("int8",), ctranslate, BATCHES, streams=True),
    )  # fmt: skip


CEILING = Entry("the ceiling", "", "ceiling", "oneDNN's prepacked products alone, best of several row counts")
REFERENCE = Entry("the reference", "fp32", "reference", "transformers, one document at a time, no padding")
EMBEDDING = Entry("embedding alone", "bf16", "penstock_engine", PENSTOCK, ("bfloat16", "one"), batches=(512,))
ANSWERS = Entry("six answers", "bf16", "penstock_engine", PENSTOCK, ("bfloat16", "many"), batches=(512,))
TOKENIZER = Entry("penstock's tokenizer", "", "tokenizer_alone", "Tokenizer.encode", ("penstock",), batches=(1024,))
RAW_TOKENIZER = Entry(
    "encode_batch_fast", "", "tokenizer_alone", "the tokenizers library alone", ("raw",), batches=(1024,)
)
