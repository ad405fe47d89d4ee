"""How fast the encoder is by itself, in one process: no queue, no Parquet, no tokenizer in the timed part.

    python tests/benchmarks/encoder.py CORPUS --model MODEL [--text-column 1 …] [--no-header] [--limit 512]

Prints one JSON object: documents/s and tokens/s of the forward passes alone, and of the extractor (with tokenising and
the Arrow table), medians over passes that alternate; and GFLOP/s by 2 flops per weight of the linear layers and real
token plus attention (4 * layers * hidden * tokens**2 per document).
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import torch

from pipelines.batching import micro_batches
from pipelines.corpus import CorpusOptions, open_corpus
from pipelines.documents import Batch, Document
from pipelines.extract import Extractor
from pipelines.opening import Request, make_spec
from pipelines.roberta.encoder import Encoder
from pipelines.roberta.tokenizer import Tokenizer
from pipelines.spec import Dtype


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus")
    parser.add_argument("--model", required=True)
    parser.add_argument("--text-column", action="append")
    parser.add_argument("--no-header", action="store_true")
    parser.add_argument("--limit", type=int, default=512)
    parser.add_argument("--dtype", default="bfloat16", choices=["float32", "bfloat16", "int8"])
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--token-budget", type=int, default=4096)
    given = parser.parse_args()
    options = CorpusOptions(
        text_columns=tuple(given.text_column or ("text",)),
        text_named=bool(given.text_column),
        header=not given.no_header,
        limit=given.limit,
    )
    spec = make_spec(Request((given.corpus,), options, given.model, Dtype(given.dtype), batch_documents=given.limit))
    with open_corpus(spec.corpus) as reader:
        documents = [item for item in reader if isinstance(item, Document)]
    extractor = Extractor(spec, token_budget=given.token_budget)
    encoder = Encoder.load(spec.model, torch.device("cpu"), spec.dtype)
    tokenizer = Tokenizer(Path(spec.model.path), spec.model.model_type, vocab_size(spec.model.path))
    encoded = tokenizer.encode([document.text for document in documents], None, spec.max_tokens)
    rows = [encoded.ids[start:end] for start, end in zip(encoded.offsets, encoded.offsets[1:], strict=False)]
    groups = micro_batches([len(row) for row in rows], given.token_budget)
    tokens = sum(map(len, rows))
    bare, whole = [], []
    for _ in range(given.passes + 1):
        started = time.perf_counter()
        for group in groups:
            encoder.forward([rows[index] for index in group])
        bare.append(time.perf_counter() - started)
        started = time.perf_counter()
        extractor.extract(Batch(0, 0, list(documents)))
        whole.append(time.perf_counter() - started)
    seconds, extract_s = statistics.median(bare[1:]), statistics.median(whole[1:])
    config = encoder.config
    hidden, layers, inner = config.hidden_size, config.num_hidden_layers, config.intermediate_size
    weights = layers * (4 * hidden * hidden + 2 * hidden * inner)
    flops = 2 * weights * tokens + sum(4 * layers * hidden * len(row) ** 2 for row in rows)
    result = {
        "documents": len(documents),
        "tokens": tokens,
        "dtype": given.dtype,
        "threads": torch.get_num_threads(),
        "encoder_documents_per_second": round(len(documents) / seconds, 2),
        "encoder_tokens_per_second": round(tokens / seconds, 1),
        "encoder_gflops_per_second": round(flops / seconds / 1e9, 1),
        "extractor_documents_per_second": round(len(documents) / extract_s, 2),
        "spread": round((max(bare[1:]) - min(bare[1:])) / seconds, 3),
    }
    print(json.dumps(result))


def vocab_size(folder: str) -> int:
    """Of a checkpoint's config.json."""
    with open(f"{folder}/config.json", encoding="utf-8") as file:
        return int(json.load(file)["vocab_size"])


if __name__ == "__main__":
    main()
