"""ONNX Runtime: the exported encoder with its own BERT fusions, in fp32 or dynamically quantised to int8."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from benchmarks.engine.peers import padding

OPSET = 17


class Contestant:
    """``precision`` is fp32 or int8."""

    def __init__(self, precision: str) -> None:
        self.precision = precision

    def prepare(self, model: Path, work: Path, threads: int) -> None:
        """Export, fuse and quantise once; then open a session."""
        self.tokenizer = padding.fast_tokenizer(model)
        graph = _quantized(model, work) if self.precision == "int8" else _fused(model, work)
        self.graph, self.threads, self.session = graph, threads, None
        self._open(1)

    def embed(self, texts: Sequence[str], batch: int, streams: int = 1) -> npt.NDArray[np.float32]:
        """Mean-pooled vectors."""
        if streams != self.streams:
            self._open(streams)
        return padding.pooled(padding.token_ids(self.tokenizer, texts), batch, streams, self._hidden)

    def _open(self, streams: int) -> None:
        """A session on all threads, or one that computes in the threads which call it."""
        self.session = None  # gone before the next one comes: the weights are in memory once
        self.streams = streams
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.threads if streams == 1 else 1, 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(str(self.graph), options, providers=["CPUExecutionProvider"])
        self.types = {put.name: np.int32 if "int32" in put.type else np.int64 for put in self.session.get_inputs()}

    def _hidden(self, rows: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
        inputs = dict(zip(("input_ids", "attention_mask"), padding.rectangle(rows), strict=True))
        return self.session.run(None, {name: inputs[name].astype(kind) for name, kind in self.types.items()})[0]


def _exported(model: Path, work: Path) -> Path:
    place, unfinished = work / "encoder.onnx", work / "unfinished.onnx"
    if not place.exists():
        import torch
        from benchmarks.engine.peers.encoder_graph import NAMES, EncoderGraph, example

        names = [*NAMES, "hidden"]
        with torch.inference_mode():
            torch.onnx.export(
                EncoderGraph(model, "eager"),  # the fusions know this form of attention
                example(),
                str(unfinished),
                input_names=names[:2],
                output_names=names[2:],
                dynamic_axes={name: {0: "documents", 1: "tokens"} for name in names},
                opset_version=OPSET,
                dynamo=False,
            )
        os.replace(unfinished, place)
    return place


def _fused(model: Path, work: Path) -> Path:
    place, unfinished = work / "encoder-fused.onnx", work / "unfinished.onnx"
    if not place.exists():
        from onnxruntime.transformers import optimizer

        config = json.loads((model / "config.json").read_text())
        fused = optimizer.optimize_model(
            str(_exported(model, work)),
            model_type="bert",
            num_heads=config["num_attention_heads"],
            hidden_size=config["hidden_size"],
            opt_level=0,
        )
        fused.save_model_to_file(str(unfinished))
        os.replace(unfinished, place)
    return place


def _quantized(model: Path, work: Path) -> Path:
    place, unfinished = work / "encoder-int8.onnx", work / "unfinished.onnx"
    if not place.exists():
        from onnxruntime.quantization import QuantType, quantize_dynamic

        # The fused operators are ONNX Runtime's own: their types have to be told.
        extra = {"DefaultTensorType": onnx.TensorProto.FLOAT}
        quantize_dynamic(str(_fused(model, work)), str(unfinished), weight_type=QuantType.QInt8, extra_options=extra)
        os.replace(unfinished, place)
    return place
