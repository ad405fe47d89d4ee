"""The real dictionary and BPE give the tokenizer of roberta-base, and fairseq's own ids of real sentences."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

from pipelines.roberta.fairseq.dictionary import label_names, symbols
from pipelines.roberta.fairseq.gpt2 import bpe_of, read_bpe
from pipelines.roberta.fairseq.vocabulary import symbols_of, vocabulary, write_tokenizer
from pipelines.roberta.tokenizer import Tokenizer

WIDTHS = {8: np.uint16, 4: np.int32}


@pytest.fixture(scope="module")
def files(test_data: Path) -> Path:
    return test_data / "tokenizer_roberta"


@pytest.fixture(scope="module")
def folder(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("tokenizer")
    bpe = read_bpe(files / "vocab.bpe")
    write_tokenizer(made, vocabulary(symbols(files / "dict.txt"), bpe, "dict.txt"), bpe, 512)
    (made / "config.json").write_text('{"model_type": "roberta"}')
    return made


def binarised(path: Path) -> Iterator[list[int]]:
    """The items of a binarised data set of fairseq.

    Format: facebookresearch/fairseq ``fairseq/data/indexed_dataset.py``, MMapIndexedDataset.
    """
    head = path.with_suffix(".idx").read_bytes()
    assert head[:9] == b"MMIDIDX\x00\x00"
    count = int.from_bytes(head[18:26], "little")
    sizes = np.frombuffer(head, np.int32, count, 26)
    ids = np.fromfile(path.with_suffix(".bin"), WIDTHS[head[17]])
    end = 0
    for size in sizes:
        yield ids[end : end + size].tolist()
        end += size


def test_the_ids_of_gpt2_follow_from_its_merges(files: Path) -> None:
    bpe = read_bpe(files / "vocab.bpe")
    listed = json.loads((files / "encoder.json").read_text())
    assert {token: number for number, token in enumerate(bpe_of(bpe.merges).tokens)} == listed
    assert {token: number for number, token in enumerate(bpe.tokens)} == listed


def test_the_vocabulary_is_that_of_roberta_base(files: Path, folder: Path) -> None:
    for name in ("vocab.json", "merges.txt"):
        assert (folder / name).read_text() == (files / name).read_text() or json.loads(
            (folder / name).read_text()
        ) == json.loads((files / name).read_text())
    bpe = read_bpe(files / "vocab.bpe")
    assert symbols_of(json.loads((files / "vocab.json").read_text()), bpe, "x") == symbols(files / "dict.txt")


def test_golden_ids(files: Path, folder: Path) -> None:
    theirs, ours = AutoTokenizer.from_pretrained(folder), Tokenizer(folder, "roberta", 50265)
    assert (theirs.mask_token_id, len(theirs), theirs.model_max_length) == (50264, 50265, 512)
    for line in (files / "golden_ids_readme.jsonl").read_text().splitlines():
        golden = json.loads(line)
        assert theirs(golden["text"])["input_ids"] == golden["ids"]
        if "<mask>" not in golden["text"]:  # which is plain text in a corpus
            assert ours.encode([golden["text"]], None, 512).ids.tolist() == golden["ids"]


@pytest.mark.parametrize(("task", "header", "columns"), [("SST-2", True, (0,)), ("RTE", True, (1, 2))])
def test_real_sentences_have_the_ids_that_fairseq_gave_them(
    task: str, header: bool, columns: tuple[int, ...], test_data: Path, folder: Path
) -> None:
    data, tokenizer = test_data / "fairseq_bin_sst2_rte", Tokenizer(folder, "roberta", 50265)
    rows = [line.split("\t") for line in (data / f"{task}-dev.tsv").read_text(encoding="utf-8").split("\n") if line][
        header:
    ]
    for number, column in enumerate(columns):
        encoded = tokenizer.encode([row[column].strip() for row in rows], None, 512)
        ids = [part.tolist() for part in np.split(encoded.ids, encoded.offsets[1:-1])]
        wanted = [[0, *item] for item in binarised(data / f"{task}-bin" / f"input{number}" / "valid")]
        assert ids == wanted


def test_classes_are_in_the_order_of_the_label_dictionary(test_data: Path) -> None:
    data = test_data / "fairseq_bin_sst2_rte"
    names = label_names(data / "SST-2-bin")
    assert names == ("1", "0")
    rows = [line.split("\t") for line in (data / "SST-2-dev.tsv").read_text(encoding="utf-8").split("\n") if line][1:]
    assert [names[item[0] - 4] for item in binarised(data / "SST-2-bin" / "label" / "valid")] == [
        row[1] for row in rows
    ]
    assert label_names(data / "RTE-bin")[0] == "entailment"
