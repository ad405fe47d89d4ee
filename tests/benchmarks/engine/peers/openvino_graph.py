"""OpenVINO: the traced encoder, compiled for the CPU in a number format, batches sorted by length."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import openvino
from benchmarks.engine.peers import padding
from benchmarks.engine.texts import synthetic

CALIBRATION_TEXTS = 32


class Contestant:
    """``precision`` is f32, bf16 or int8 (nncf's post-training quantisation)."""

    def __init__(self, precision: str) -> None:
        self.precision = precision

    def prepare(self, model: Path, work: Path, threads: int) -> None:
        """Convert once, compile for this machine."""
        self.tokenizer = padding.fast_tokenizer(model)
        graph = self._quantized(model, work) if self.precision == "int8" else _traced(model, work)
        self.graph, self.threads, self.compiled = graph, threads, None
        self._open(1)

    def embed(self, texts: Sequence[str], batch: int, streams: int = 1) -> npt.NDArray[np.float32]:
        """Mean-pooled vectors."""
        if streams != self.streams:
            self._open(streams)
        rows = padding.token_ids(self.tokenizer, texts)
        if streams == 1:
            return padding.pooled(rows, batch, 1, lambda part: self.compiled(list(padding.rectangle(part)))[0])
        return self._queued(rows, batch)

    def _open(self, streams: int) -> None:
        self.compiled = None  # gone before the next one comes: the weights are in memory once
        self.streams = streams
        settings = {"INFERENCE_NUM_THREADS": self.threads, "NUM_STREAMS": str(streams)}
        # int8 products have their scales; what is left between them is best in what the CPU does fastest
        settings["INFERENCE_PRECISION_HINT"] = "bf16" if self.precision == "bf16" else "f32"
        self.compiled = openvino.Core().compile_model(str(self.graph), "CPU", settings)

    def _queued(self, rows: Sequence[Sequence[int]], batch: int) -> npt.NDArray[np.float32]:
        """A queue with a request for each stream, as OpenVINO's documentation advises for throughput."""
        vectors: list[npt.NDArray[np.float32]] = [np.empty(0, np.float32)] * len(rows)

        def done(request: openvino.InferRequest, sent: tuple[list[int], npt.NDArray[np.int64]]) -> None:
            group, mask = sent
            for index, vector in zip(group, padding.mean(request.get_output_tensor().data, mask), strict=True):
                vectors[index] = vector

        queue = openvino.AsyncInferQueue(self.compiled, self.streams)
        queue.set_callback(done)
        for group in padding.sorted_groups(rows, batch):
            ids, mask = padding.rectangle([rows[index] for index in group])
            queue.start_async([ids, mask], userdata=(group, mask))
        queue.wait_all()
        return np.stack(vectors)

    def _quantized(self, model: Path, work: Path) -> Path:
        import nncf

        place = work / "openvino-int8.xml"
        if not place.exists():
            rows = padding.token_ids(self.tokenizer, synthetic("short", CALIBRATION_TEXTS))
            samples = [
                dict(zip(("input_ids", "attention_mask"), padding.rectangle([row]), strict=True)) for row in rows
            ]
            graph = nncf.quantize(
                openvino.Core().read_model(_traced(model, work)),
                nncf.Dataset(samples),
                model_type=nncf.ModelType.TRANSFORMER,
                subset_size=CALIBRATION_TEXTS,
            )
            _save(graph, place)
        return place


def _traced(model: Path, work: Path) -> Path:
    place = work / "openvino.xml"
    if not place.exists():
        import torch
        from benchmarks.engine.peers.encoder_graph import NAMES, EncoderGraph, example

        any_size = openvino.PartialShape([-1, -1])
        with torch.inference_mode():
            graph = openvino.convert_model(
                EncoderGraph(model, "sdpa"), example_input=example(), input=[(name, any_size) for name in NAMES]
            )
        _save(graph, place)
    return place


def _save(graph: openvino.Model, place: Path) -> None:
    """The weights first: a graph without them would be taken for a whole one the next time."""
    unfinished = place.with_name(f"unfinished-{place.name}")
    openvino.save_model(graph, str(unfinished), compress_to_fp16=False)
    os.replace(unfinished.with_suffix(".bin"), place.with_suffix(".bin"))
    os.replace(unfinished, place)
