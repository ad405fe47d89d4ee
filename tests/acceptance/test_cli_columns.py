"""Columns in and columns out: texts, pairs, ids, kept columns, prefix, embeddings, classifiers."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from acceptance.commands import write_jsonl
from acceptance.conftest import OPTIONS, Ask, Sealed
from chaos.disturbance import rows


def _run(ask: Ask, corpus: object, model: Path, out: Path, *extra: object) -> pa.Table:
    answer = ask("run", corpus, "--out", out, "--model", model, *OPTIONS, "--inline", *extra)
    assert answer.code == 0, answer.err
    return rows(out)


def test_kept_columns_with_types_and_names(sealed: Sealed, tmp_path: Path, ask: Ask) -> None:
    table = _run(
        ask, sealed.corpus, sealed.model, tmp_path / "out",
        "--keep", "number", "--keep", "number:string=spelled", "--keep", "number:float=real",
        "--keep", "parity=kind", "--keep", "text:json=quoted",
    )  # fmt: skip
    assert table.column_names[-5:] == ["number", "spelled", "real", "kind", "quoted"]
    assert [table.schema.field(name).type for name in ("number", "spelled", "real", "kind", "quoted")] == [
        pa.int64(), pa.string(), pa.float64(), pa.string(), pa.string(),
    ]  # fmt: skip
    assert table["number"].to_pylist() == list(range(60))
    assert table["spelled"].to_pylist()[:2] == ["0", "1"]
    assert table["kind"].to_pylist()[:2] == ["even", "odd"]
    assert table["quoted"].to_pylist()[0].startswith('"0: the river')


def test_types_of_json_columns_come_from_the_documents(tiny_model: Path, tmp_path: Path, ask: Ask) -> None:
    corpus = write_jsonl(
        tmp_path / "c.jsonl",
        [
            {"text": "a", "mixed": 1, "nested": {"k": [1]}, "nothing": None, "flag": True},
            {"text": "b", "mixed": 2.5, "nested": None, "nothing": None, "flag": None},
        ],
    )
    kept = [word for name in ("mixed", "nested", "nothing", "flag") for word in ("--keep", name)]
    table = _run(ask, corpus, tiny_model, tmp_path / "out", *kept)
    assert [table.schema.field(name).type for name in ("mixed", "nested", "nothing", "flag")] == [
        pa.float64(), pa.string(), pa.string(), pa.bool_(),
    ]  # fmt: skip
    assert table["mixed"].to_pylist() == [1.0, 2.5]
    assert table["nested"].to_pylist() == ['{"k":[1]}', None]
    assert table["flag"].to_pylist() == [True, None]


def test_types_of_parquet_columns_are_its_own(tiny_model: Path, tmp_path: Path, ask: Ask) -> None:
    day = datetime.date(2020, 2, 29)
    source = pa.table({"text": ["a", "b"], "day": [day, None], "tags": [["x"], []], "small": pa.array([1, 2], "int8")})
    pq.write_table(source, tmp_path / "c.parquet")
    kept = ("--keep", "day", "--keep", "tags", "--keep", "small:int32=bigger")
    table = _run(ask, tmp_path / "c.parquet", tiny_model, tmp_path / "out", *kept)
    assert table["day"].to_pylist() == [day, None]
    assert table["tags"].to_pylist() == [["x"], []]
    assert table.schema.field("bigger").type == pa.int32()


def test_a_value_that_does_not_fit_becomes_null_and_is_told(tiny_model: Path, tmp_path: Path, ask: Ask) -> None:
    corpus = write_jsonl(tmp_path / "c.jsonl", [{"text": "a", "year": 1999}, {"text": "b", "year": "unknown"}])
    table = _run(ask, corpus, tiny_model, tmp_path / "out", "--keep", "year:int32")
    assert table["year"].to_pylist() == [1999, None]
    listed = ask("quarantine", "list", tmp_path / "out", "--json").value["quarantine"]
    assert listed == [{"stage": "warning", "reason": "kept_value", "documents": 1}]
    assert (
        ask("run", corpus, "--out", tmp_path / "out", "--model", tiny_model, *OPTIONS, "--keep", "year:int32").code == 0
    )


def test_texts_of_several_columns_pairs_ids_and_prefix(tiny_model: Path, tmp_path: Path, ask: Ask) -> None:
    values = [{"key": 5, "title": "A pump", "body": "turns", "other": "It turns."}]
    plain = [{"text": "A pump\nturns", "other": "It turns."}]
    joined = _run(
        ask, write_jsonl(tmp_path / "c.jsonl", values), tiny_model, tmp_path / "out",
        "--text-column", "title", "--text-column", "body", "--pair-column", "other", "--id-column", "key",
    )  # fmt: skip
    single = _run(
        ask, write_jsonl(tmp_path / "p.jsonl", plain), tiny_model, tmp_path / "single", "--pair-column", "other"
    )
    alone = _run(ask, tmp_path / "p.jsonl", tiny_model, tmp_path / "alone")
    prefixed = _run(ask, tmp_path / "p.jsonl", tiny_model, tmp_path / "prefixed", "--prefix", "query: ")
    assert joined["id"].to_pylist() == ["5"]
    assert joined["embedding"].equals(single["embedding"])
    assert single["n_tokens"][0].as_py() > alone["n_tokens"][0].as_py()
    assert prefixed["n_tokens"][0].as_py() > alone["n_tokens"][0].as_py()
    assert not prefixed["embedding"].equals(alone["embedding"])


def test_several_embeddings_of_one_pass(sealed: Sealed, tmp_path: Path, ask: Ask) -> None:
    words = ("--embed", "mean", "--embed", "cls", "--embed", "max", "--embed", "cls")
    table = _run(ask, sealed.corpus, sealed.model, tmp_path / "out", *words)
    assert table.column_names[:4] == ["id", "embedding_mean", "embedding_cls", "embedding_max"]
    mean = np.stack(table["embedding_mean"].to_numpy())
    np.testing.assert_allclose(mean, np.stack(rows(sealed.out)["embedding"].to_numpy()), atol=1e-5)
    assert table.schema.field("embedding_cls").type.list_size == mean.shape[1]


def test_classifiers_of_all_three_kinds(sealed: Sealed, tiny_classifier: Path, tmp_path: Path, ask: Ask) -> None:
    itself = _run(ask, sealed.corpus, tiny_classifier, tmp_path / "self", "--classify", "self")
    assert itself.column_names == ["id", "label", "score", "scores", "n_tokens", "n_used", "input_digest"]
    scores = np.stack(itself["scores"].to_numpy())
    assert scores.shape == (60, 3)
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-5)
    names = ("calm", "busy", "loud")
    assert itself["label"].to_pylist() == [names[best] for best in scores.argmax(axis=1)]
    np.testing.assert_allclose(itself["score"].to_numpy(), scores.max(axis=1))
    other = _run(
        ask, sealed.corpus, sealed.model, tmp_path / "other",
        "--classify", tiny_classifier, "--classify", f"mood={tiny_classifier}", "--embed", "mean",
    )  # fmt: skip
    assert other.column_names[:8] == [
        "id", "embedding", "label", "score", "scores", "mood_label", "mood_score", "mood_scores",
    ]  # fmt: skip
    assert other["label"].equals(itself["label"])
    assert other["mood_scores"].equals(other["scores"])


REFUSED = [
    (("--classify", "{c}", "--classify", "{c}"), "Two classifiers have no name"),
    (("--classify", "self", "--classify", "{c}"), "Two classifiers have no name"),
    (("--classify", "a={c}", "--classify", "a=self"), "named 'a'"),
    (("--classify", "Mood={c}"), "'Mood' is no name"),
    (("--classify", "1a={c}"), "'1a' is no name"),
    (("--classify", "mood="), "names no model"),
    (("--keep", "number=embedding"), "'embedding' more than once"),
    (("--keep", "number=id"), "'id' more than once"),
    (("--keep", "number=n_tokens"), "'n_tokens' more than once"),
    (("--keep", "number", "--keep", "parity=number"), "Two kept columns are called 'number'"),
    (("--classify", "{c}", "--keep", "parity=label"), "'label' more than once"),
]


@pytest.mark.parametrize(("extra", "said"), REFUSED, ids=lambda value: value if isinstance(value, str) else "")
def test_columns_that_collide_are_2(
    extra: tuple[str, ...], said: str, sealed: Sealed, tiny_classifier: Path, tmp_path: Path, ask: Ask
) -> None:
    words = [word.format(c=tiny_classifier) for word in extra]
    answer = ask("run", sealed.corpus, "--out", "out", "--model", tiny_classifier, "--embed", "mean", *OPTIONS, *words)
    assert answer.code == 2
    assert said in answer.refusal
    assert not (tmp_path / "out").exists()


def test_the_tightest_model_limits_the_tokens(sealed: Sealed, tmp_path: Path, ask: Ask) -> None:
    words = ("run", sealed.corpus, "--out", tmp_path / "out", "--model", sealed.model, *OPTIONS, "--inline")
    answer = ask(*words, "--max-tokens", 129)
    assert answer.code == 2
    assert "128" in answer.refusal
    cut = ask(*words, "--max-tokens", 12, "--json")
    assert cut.code == 0
    table = rows(tmp_path / "out")
    assert max(table["n_used"].to_pylist()) == 12
    longer = sum(
        tokens > used for tokens, used in zip(table["n_tokens"].to_pylist(), table["n_used"].to_pylist(), strict=True)
    )
    assert cut.value["truncated"] == longer > 0
    assert cut.value["tokens_used"] < cut.value["tokens"]


def test_invariant_rows_are_the_same_bytes_from_other_batches_and_workers(
    sealed: Sealed, tmp_path: Path, ask: Ask
) -> None:
    tables = [
        _run(ask, sealed.corpus, sealed.model, tmp_path / batch, "--batch-invariant", "--batch-docs", batch)
        for batch in ("7", "60")
    ]
    assert tables[0].equals(tables[1])
    answer = ask("run", sealed.corpus, "--out", tmp_path / "8", "--model", sealed.model, "--batch-invariant",
                 "--dtype", "int8", "--inline")  # fmt: skip
    assert answer.code == 2
    assert "--batch-invariant cannot be had in int8" in answer.err
