"""The oracle of the parity tests: plain transformers, one document at a time, no batch, no padding."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

from pipelines.assembly import Extracted
from pipelines.documents import Batch, Document, Origin
from pipelines.extract import Extractor
from pipelines.roberta.checkpoint import find
from pipelines.spec import CorpusSpec, Dtype, Pooling, RunSpec, embedding_feature, labels_feature

MODEL_TYPES = ("roberta", "xlm-roberta", "camembert")
LABELS = ("calm", "busy", "loud")
LONG = " and then the keeper measures the quiet water, which turns 17 wheels" * 40
LITERALS = ("Literal </s> and <mask> and <pad>, <s>", "</s></s>", "<mask>")
ODD_TEXTS = (
    *("a", " ", "  two  blanks ", "\n", "tab\tand\r\nline end", "ünïcödé – “quotes” …", "日本語のテキスト", "x" * 700),
    *(LONG, "ﬁne ligature ①", "e\u0301 combining", "zero\u200bwidth", "right-to-left שלום", "null\x00byte"),
    *("emoji 👩🏽‍🚀🏳️‍🌈!", "I'll they're IT'S"),
)


@dataclass
class Oracle:
    """What transformers computes for one text or pair; float32, in the named attention implementation."""

    folder: Path
    attention: str
    max_tokens: int

    def __post_init__(self) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(self.folder, split_special_tokens=True)
        self.encoder = AutoModel.from_pretrained(self.folder, attn_implementation=self.attention).eval()

    def ids(self, text: str, pair: str | None = None) -> list[int]:
        ids: list[int] = self.tokenizer(text, pair, truncation="longest_first", max_length=self.max_tokens)["input_ids"]
        return ids

    def hidden(self, text: str, pair: str | None = None) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            output = self.encoder(input_ids=torch.tensor([self.ids(text, pair)]))
        vectors: npt.NDArray[np.float32] = output.last_hidden_state[0].numpy()
        return vectors

    def scores(self, text: str, pair: str | None = None) -> npt.NDArray[np.float32]:
        model = AutoModelForSequenceClassification.from_pretrained(self.folder, attn_implementation=self.attention)
        with torch.inference_mode():
            logits = model.eval()(input_ids=torch.tensor([self.ids(text, pair)])).logits[0]
        probabilities: npt.NDArray[np.float32] = torch.softmax(logits, -1).numpy()
        return probabilities


@pytest.fixture(scope="session")
def checkpoints(
    make_model: Callable[..., Path], texts: list[str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Path, Path]]:
    """An encoder and a classifier on it, for each model type."""
    root = tmp_path_factory.mktemp("checkpoints")
    made = {}
    for model_type in MODEL_TYPES:
        encoder = make_model(texts, root / model_type, model_type=model_type, vocab_size=700, max_positions=200)
        classifier = make_model(texts, root / f"{model_type}-labels", labels=LABELS, encoder_from=encoder)
        made[model_type] = (encoder, classifier)
    return made


def documents(texts: list[str], pairs: list[str | None] | None = None) -> Iterator[Document]:
    """Documents with numbers for ids."""
    for number, text in enumerate(texts):
        pair = pairs[number] if pairs else None
        yield Document(str(number), text, pair, Origin("memory", number, 0))


@pytest.fixture(scope="session")
def extract() -> Callable[..., Extracted]:
    """Run texts through the engine: all poolings of one model and the labels of another."""

    def run(
        texts: list[str],
        encoder: Path,
        classifier: Path | None = None,
        *,
        pairs: list[str | None] | None = None,
        max_tokens: int = 128,
        dtype: Dtype = Dtype.FLOAT32,
        device: str = "cpu",
        token_budget: int | None = 1000,
    ) -> Extracted:
        model = find(str(encoder))
        features = [embedding_feature(model, pooling, name=str(pooling)) for pooling in Pooling]
        if classifier is not None:
            features.append(labels_feature(find(str(classifier)), None))
        spec = RunSpec(CorpusSpec(()), model, tuple(features), max_tokens, dtype, 512)
        extractor = Extractor(spec, device=device, token_budget=token_budget)
        return extractor.extract(Batch(0, 0, list(documents(texts, pairs))))

    return run


@pytest.fixture(scope="session")
def oracle() -> Callable[..., Oracle]:
    """``oracle(folder, attention="eager", max_tokens=128)``."""

    def make(folder: Path, attention: str = "eager", max_tokens: int = 128) -> Oracle:
        return Oracle(folder, attention, max_tokens)

    return make


@pytest.fixture(scope="session")
def odd_texts(texts: list[str]) -> Callable[[str], list[str]]:
    """Ordinary, odd, short and long texts for a model type, in no order of length.

    Literal special strings only for roberta: for a Unigram transformers makes special tokens of them in any setting.
    """

    def make(model_type: str) -> list[str]:
        return [*texts[:12], *ODD_TEXTS, *(LITERALS if model_type == "roberta" else ()), *texts[40:52]]

    return make
