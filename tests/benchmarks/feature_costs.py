"""What each feature costs next to the plain mean embedding of the same documents, in one process.

    python tests/benchmarks/feature_costs.py CORPUS --work DIR [--text-column 2 --no-header] [--documents 96] [--write]

Models of one shape with random weights are made in DIR, all heads on one encoder. Each contestant extracts the same
documents (tokenising and the Arrow table included), all in turn, round after round; ratios are of medians. With --write
the table goes into docs/feature_costs.md.
"""

from __future__ import annotations

import argparse
import json
import platform
import shlex
import shutil
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file

from pipelines.corpus import discover, open_corpus
from pipelines.documents import Batch
from pipelines.extract import Extractor
from pipelines.opening import make_spec
from pipelines.spec import Dtype
from worker.cli.options import make_request
from worker.cli.run import run

PAGE = Path(__file__).resolve().parents[2] / "docs" / "feature_costs.md"
LABELS = ("world", "sports", "business", "science")
NLI = ("contradiction", "neutral", "entailment")
HEADS: dict[str, tuple[str, dict[str, Any]]] = {
    "labels": ("RobertaForSequenceClassification", {"id2label": dict(enumerate(LABELS))}),
    "nli": ("RobertaForSequenceClassification", {"id2label": dict(enumerate(NLI))}),
    "number": ("RobertaForSequenceClassification", {"id2label": {0: "number"}}),
    "masks": ("RobertaForMaskedLM", {}),
    "spans": ("RobertaForTokenClassification", {"id2label": {0: "O", 1: "B-LOC", 2: "I-LOC"}}),
    "answers": ("RobertaForQuestionAnswering", {}),
    "choice": ("RobertaForMultipleChoice", {}),
}


@dataclass(frozen=True)
class Contestant:
    """A feature by its flags, the model that has its head, and what its documents are."""

    name: str
    flags: str
    model: str = "labels"
    texts: str = "plain"


CONTESTANTS = (
    Contestant("mean embedding", "--embed mean"),
    Contestant("`<s>` only", "--embed cls"),
    Contestant("maximum", "--embed max"),
    Contestant("last layer but one", "--embed mean@-2"),
    Contestant("mean of the last four layers", "--embed mean@-4..-1"),
    Contestant("every layer, 13 columns", "--embed mean@all"),
    Contestant("stored as float16", "--vectors float16"),
    Contestant("stored as int8", "--vectors int8 --normalize"),
    Contestant("stored as bits", "--vectors binary"),
    Contestant("dense layer, 768 to 256", "--embed auto", "dense"),
    Contestant("in windows of 32 tokens, 8 shared", "--long window --max-tokens 32 --stride 8"),
    Contestant("labels", "--classify self"),
    Contestant("a number", "--classify self", "number"),
    Contestant(
        "embedding, three poolings, three heads",
        "--embed mean --embed max --embed cls --classify self --classify nli={nli} --classify number={number}",
    ),
    Contestant("every token's vector", "--tokens last"),
    Contestant("every token's vector in every layer", "--tokens all"),
    Contestant("every word's vector", "--words split"),
    Contestant("spans of a token classifier", "--spans self", "spans"),
    Contestant("fill-mask, 5 best", "--fill-mask 5", "masks", "masked"),
    Contestant("answers to a question", "--answer self --pair-column context", "answers", "asked"),
    Contestant("zero-shot, 4 labels", "--zero-shot world,sports,business,science", "nli"),
    Contestant("choice of 4", "--choose self --choices-column choices", "choice", "chosen"),
    Contestant("pronoun, 3 candidates", "--disambiguate --candidates-column candidates", "masks", "pronouns"),
)


def write_models(folder: Path, tokenizer: Path, layers: int) -> None:
    """Checkpoints of roberta-base's shape, all with one encoder; ``tokenizer`` is a folder of the right files."""
    torch.manual_seed(0)
    config = transformers.RobertaConfig(
        vocab_size=50265, max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5, num_hidden_layers=layers
    )
    encoder = transformers.RobertaModel(config, add_pooling_layer=False)
    files = transformers.RobertaTokenizer.from_pretrained(tokenizer)
    for name, (kind, more) in HEADS.items():
        if not (folder / name / "config.json").exists():
            model = getattr(transformers, kind)(transformers.RobertaConfig(**{**config.to_dict(), **more}))
            model.roberta.load_state_dict(encoder.state_dict(), strict=False)  # not the pooler
            model.save_pretrained(folder / name)
            files.save_pretrained(folder / name)


def write_dense(folder: Path, plain: Path) -> None:
    """A model as sentence-transformers writes one: mean, then a dense layer."""
    shutil.copytree(plain, folder, dirs_exist_ok=True)
    modules = {"": "Transformer", "1_Pooling": "Pooling", "2_Dense": "Dense"}
    (folder / "modules.json").write_text(
        json.dumps(
            [
                {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
                for number, (path, kind) in enumerate(modules.items())
            ]
        )
    )
    hidden = json.loads((plain / "config.json").read_text())["hidden_size"]
    settings: dict[str, dict[str, Any]] = {
        "1_Pooling": {"word_embedding_dimension": hidden, "pooling_mode_mean_tokens": True},
        "2_Dense": {
            "in_features": hidden,
            "out_features": 256,
            "bias": True,
            "activation_function": "torch.nn.modules.activation.Tanh",
        },
    }
    for name, values in settings.items():
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "config.json").write_text(json.dumps(values))
    weights = {"linear.weight": torch.randn(256, hidden) / hidden**0.5, "linear.bias": torch.zeros(256)}
    save_file(weights, folder / "2_Dense" / "model.safetensors")


def write_corpora(folder: Path, texts: list[str]) -> dict[str, Path]:
    """The same texts as each feature wants them."""
    rows: dict[str, list[dict[str, Any]]] = {
        "plain": [{"text": text} for text in texts],
        "masked": [{"text": f"{text} It was <mask>."} for text in texts],
        "asked": [{"text": "What happened?", "context": text} for text in texts],
        "chosen": [{"text": text, "choices": list(LABELS)} for text in texts],
        "pronouns": [{"text": f"{text} Now [it] is known.", "candidates": list(LABELS[:3])} for text in texts],
    }
    paths = {}
    for name, documents in rows.items():
        paths[name] = folder / f"{name}.jsonl"
        paths[name].write_text("".join(json.dumps(document) + "\n" for document in documents))
    return paths


def texts_of(given: argparse.Namespace) -> Iterator[str]:
    """The first documents of the corpus that was named."""
    columns = [word for column in given.text_column for word in ("--text-column", column)]
    flags = [given.corpus, "--out", "out", "--model", "unused", *columns, *(["--no-header"] if given.no_header else [])]
    request = make_request(
        run.make_context("run", flags).params, dtype=Dtype.FLOAT32, batch_documents=1, spool_to=Path("unused")
    )
    with open_corpus(discover(request.arguments, request.corpus)) as reader:
        for item in reader:
            if hasattr(item, "text"):
                yield item.text


def prepare(
    contestant: Contestant, models: Path, corpora: dict[str, Path], dtype: Dtype, device: str = "cpu"
) -> tuple[Extractor, Batch]:
    """A loaded extractor and its documents."""
    flags = contestant.flags.format(**{name: models / name for name in HEADS})
    arguments = [str(corpora[contestant.texts]), "--out", "out", "--model", str(models / contestant.model)]
    given = run.make_context("run", [*arguments, *shlex.split(flags)]).params
    spec = make_spec(make_request(given, dtype=dtype, batch_documents=10**6, spool_to=Path("unused")))
    with open_corpus(spec.corpus) as reader:
        return Extractor(spec, device=device, token_budget=1024), Batch(0, 0, list(reader))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True, help="folder with vocab.json and merges.txt")
    parser.add_argument("--text-column", action="append", default=[])
    parser.add_argument("--no-header", action="store_true")
    parser.add_argument("--documents", type=int, default=96)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtype", type=Dtype, default=Dtype.FLOAT32)
    parser.add_argument("--write", action="store_true", help=f"the table into {PAGE.name}")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    write_models(given.work, given.tokenizer, given.layers)
    write_dense(given.work / "dense", given.work / "labels")
    texts = [text for text, _ in zip(texts_of(given), range(given.documents), strict=False)]
    corpora = write_corpora(given.work, texts)
    taken: dict[str, list[float]] = {contestant.name: [] for contestant in CONTESTANTS}
    ready = {one.name: prepare(one, given.work, corpora, given.dtype) for one in CONTESTANTS}  # 10 GB for roberta-base
    for number in range(given.rounds + 1):
        for name, (extractor, batch) in ready.items():
            started = time.perf_counter()
            extracted = extractor.extract(batch)
            seconds = time.perf_counter() - started
            assert not extracted.rejects, extracted.rejects[0]
            if number:  # the first round also prepares
                taken[name].append(seconds)
    table = "\n".join(lines(taken, len(texts), given))
    print(table)
    if given.write:
        text = PAGE.read_text(encoding="utf-8")
        before, rest = text.split("<!-- the table -->\n")
        _, after = rest.split("<!-- end of the table -->")
        PAGE.write_text(f"{before}<!-- the table -->\n{table}\n<!-- end of the table -->{after}", encoding="utf-8")


def lines(taken: dict[str, list[float]], documents: int, given: argparse.Namespace) -> Iterator[str]:
    """The table."""
    base = statistics.median(taken[CONTESTANTS[0].name])
    yield (
        f"{documents} documents, {given.dtype}, {given.layers} layers of 768, {torch.get_num_threads()} thread(s), "
        f"{given.rounds} rounds, torch {torch.__version__.partition('+')[0]}, {platform.machine()}:"
    )
    yield ""
    yield "| feature | flags | times the mean embedding | spread |"
    yield "|---|---|---|---|"
    for contestant in CONTESTANTS:
        ratios = sorted(seconds / base for seconds in taken[contestant.name])
        flags = contestant.flags.format(**{name: name.upper() for name in HEADS})
        yield f"| {contestant.name} | `{flags}` | {statistics.median(ratios):.2f} | {ratios[0]:.2f}–{ratios[-1]:.2f} |"


if __name__ == "__main__":
    main()
