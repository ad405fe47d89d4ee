"""Zero-shot labels, choices, masks and pronouns as a black box sees them: from a corpus to a sealed dataset."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from acceptance.commands import call, write_jsonl
from acceptance.conftest import OPTIONS, Ask
from chaos.disturbance import rows
from conftest import example
from parity.choice_models import add_choice_head
from parity.lm_models import add_lm_head

TYPES = {
    "zero_shot_label": "string",
    "zero_shot_score": "float",
    "zero_shot_scores": "fixed_size_list<float>[2]",
    "choice": "int32",
    "choice_text": "string",
    "choice_scores": "list<float>",
    "fills": "list<struct<token: string, score: float, text: string>>",
    "pronoun_answer": "string",
    "pronoun_correct": "bool",
    "pronoun_candidates": "list<struct<text: string, score: float>>",
}
Models = dict[str, Path]


@pytest.fixture(scope="module")
def models(tiny_model: Path, make_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Models:
    """Models on one encoder."""
    root = tmp_path_factory.mktemp("models")
    labels = ("contradiction", "neutral", "entailment")
    return {
        "nli": make_model([], root / "nli", labels=labels, encoder_from=tiny_model, head_scale=2.0),
        "chooser": add_choice_head(tiny_model, root / "chooser"),
        "filler": add_lm_head(tiny_model, root / "filler"),
    }


def kinds(table: pa.Table) -> dict[str, str]:
    types = {field.name: str(field.type) for field in table.schema}
    return {name: kind.replace("item: ", "").replace("element: ", "") for name, kind in types.items()}


def riddles(texts: list[str]) -> list[dict[str, Any]]:
    """Documents that each of the questions can be asked about, each text with a mask and a pronoun."""
    return [
        {
            "id": f"riddle-{number}",
            "text": f"{text} [It] <mask> the _old mill_." if number % 2 else f"<mask>: [it] turns. {text}",
            "question": {"choices": [{"label": "A", "text": text[3:12]}, {"label": "B", "text": "nothing at all"}]},
            "candidates": ["the river", "a pump", f"number {number}"][number % 2 :],
        }
        for number, text in enumerate(texts)
    ]


def test_all_questions_in_one_run(models: Models, texts: list[str], tmp_path: Path, ask: Ask) -> None:
    corpus = write_jsonl(tmp_path / "c.jsonl", [*riddles(texts[:40]), {"text": "nothing to ask", "candidates": []}])
    answer = ask(
        *("run", corpus, "--out", tmp_path / "out", "--model", models["filler"], *OPTIONS, "--inline", "--json"),
        *("--zero-shot", "calm water, noise", "--nli", models["nli"], "--hypothesis", "This is {}.", "--embed", "mean"),
        *("--choose", models["chooser"], "--choices-column", "question.choices"),
        *("--fill-mask", 3, "--disambiguate", "--candidates-column", "candidates"),
        *("--max-quarantined", 1, "--keep", "text", "--proof", 4),
    )
    assert answer.code == 0, answer.err
    assert (answer.value["rows"], answer.value["quarantined"]) == (40, 1)
    proof = answer.value["proof"]
    assert (proof["documents"], proof["not_made"], proof["label_flips"]) == (4, "", 0)
    assert proof["max_probability_difference"] <= 1e-5
    table = rows(tmp_path / "out")
    found = kinds(table)
    assert {name: found[name] for name in TYPES} == TYPES
    for number, row in enumerate(table.to_pylist()):
        assert row["zero_shot_label"] in ("calm water", "noise")
        assert sum(row["zero_shot_scores"]) == pytest.approx(1)
        assert (row["choice_text"] == "nothing at all") == (row["choice"] == 1)
        assert sum(row["choice_scores"]) == pytest.approx(1)
        scores = [fill["score"] for fill in row["fills"]]
        assert len(scores) == 3
        assert scores == sorted(scores, reverse=True)
        assert all(fill["token"].strip() in fill["text"] for fill in row["fills"])
        asked = number % 2 == 1
        assert (row["pronoun_correct"] is None, row["pronoun_answer"] is None) == (not asked, asked)
        assert row["pronoun_candidates"][0]["text"] == ("old mill" if asked else "the river")
    assert {row["choice"] for row in table.to_pylist()} == {0, 1}
    assert ask("verify", tmp_path / "out").code == 0
    listed = ask("quarantine", "list", tmp_path / "out", "--json").out
    assert "unfit" in listed


def test_workers_answer_as_this_process_does(models: Models, texts: list[str], tmp_path: Path, ask: Ask) -> None:
    corpus = write_jsonl(tmp_path / "c.jsonl", riddles(texts[:60]))
    flags = (
        *("--model", models["filler"], "--fill-mask", 2, "--disambiguate", "--candidates-column", "candidates"),
        *("--zero-shot", "water,noise,gates", "--nli", models["nli"], "--each", "--long", "window", "--stride", 3),
        *("--max-tokens", 60, "--batch-docs", 9, "--dtype", "float32"),
    )
    here = ask("run", corpus, "--out", tmp_path / "here", *flags, "--inline", "--devices", "cpu")
    assert here.code == 0, here.err
    there = call(tmp_path, "run", corpus, "--out", tmp_path / "there", *flags, "--devices", "cpu:2", "--json")
    assert there.code == 0, there.err
    assert there.value["parts"] == 7
    assert ask("verify", tmp_path / "there").code == 0
    for one, other in zip(rows(tmp_path / "here").to_pylist(), rows(tmp_path / "there").to_pylist(), strict=True):
        assert one["pronoun_answer"] == other["pronoun_answer"]
        assert one["zero_shot_scores"] == pytest.approx(other["zero_shot_scores"], abs=1e-5)
        assert [fill["text"] for fill in one["fills"]] == [fill["text"] for fill in other["fills"]]


def test_choices_of_parquet_are_those_of_json(models: Models, texts: list[str], tmp_path: Path, ask: Ask) -> None:
    documents = [{"id": one["id"], "text": one["text"], "options": ["a wheel", "it"]} for one in riddles(texts[:12])]
    pq.write_table(pa.Table.from_pylist(documents), tmp_path / "c.parquet")
    quoted = [{**document, "options": json.dumps(document["options"])} for document in documents]
    found = []
    for number, corpus in enumerate((tmp_path / "c.parquet", write_jsonl(tmp_path / "c.jsonl", quoted))):
        out = tmp_path / f"out{number}"
        answer = ask(
            *("run", corpus, "--out", out, "--model", models["chooser"], *OPTIONS, "--inline"),
            *("--choose", "self", "--choices-column", "options", "--context-column", "text", "--choice-format", "race"),
        )
        assert answer.code == 0, answer.err
        found.append(rows(out).select(["id", "choice", "choice_text", "choice_scores"]).to_pylist())
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("flags", "code", "wanted"),
    [
        (("--zero-shot", "a,b"), 3, "has no sequence classifier head"),
        (("--choose", "self", "--choices-column", "question.choices"), 3, "has no head that scores choices"),
        (("--choose", "self", "--choices-column", "question.options"), 3, "has no head that scores choices"),
        (("--choices-column", "question.choices"), 2, "Add --choose self"),
        (("--fill-mask", "3", "--pair-column", "id"), 2, "cannot be had with --pair-column"),
        (("--disambiguate", "--candidates-column", "candidate"), 3, "no column 'candidate'"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(
    flags: tuple[str, ...], code: int, wanted: str, models: Models, texts: list[str], tmp_path: Path, ask: Ask
) -> None:
    corpus = write_jsonl(tmp_path / "c.jsonl", riddles(texts[:3]))
    answer = ask("run", corpus, "--out", tmp_path / "out", "--model", models["filler"], *OPTIONS, "--inline", *flags)
    assert answer.code == code
    assert wanted in answer.refusal
    assert not (tmp_path / "out").exists()


def test_winograd_schemas_as_they_are_published(tmp_path: Path) -> None:
    make = example("make_wsc")
    blocks = "The mill stopped because [MASK]  was old. \n[MASK]\nThe mill,The wheel \nThe mill\n\n"
    assert list(make.wsc273(blocks * 2))[1] == {
        "id": "wsc273-1",
        "text": "The mill stopped because [it] was old.",
        "candidates": ["The mill", "The wheel"],
        "answer": "The mill",
    }
    target = {"span1_text": "The mill", "span1_index": 0, "span2_text": "it", "span2_index": 5}
    line = {"idx": 3, "text": "The mill stopped because of it. Why?", "target": target, "label": True}
    other = {**line, "idx": 4, "target": {**target, "span1_text": "mill", "span1_index": 1}, "label": False}
    found = list(make.superglue("\n".join(map(json.dumps, (line, other)))))
    assert found[0]["text"] == "_The mill_ stopped because of [it]. Why?"
    assert [one["candidates"] for one in found] == [["The mill", "mill"]] * 2
    assert [one["answer"] for one in found] == [True, False]
    elsewhere = {**line, "target": {**target, "span2_text": "of"}}, {**line, "target": {**target, "span2_index": 4}}
    found = list(make.superglue("\n".join(map(json.dumps, elsewhere))))
    assert [one["text"] for one in found] == [line["text"], "_The mill_ stopped because of [it]. Why?"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Madonna fired her trainer because she slept.", ["her trainer"]),
        ("He saw a man juggling, and the sleeping boy of Mr. Ferrer.", ["a man", "the sleeping boy", "Mr. Ferrer"]),
        ("They said Emma's mother was there. Well done, Ann Lee!", ["Emma", "Ann Lee"]),
        ("I read the very long and the one that was too long to be a phrase here.", ["the one", "a phrase here"]),
        ("The of it.", []),
        ("", []),
    ],
)
def test_what_looks_like_a_noun_phrase(text: str, found: list[str]) -> None:
    assert example("make_wsc").phrases(text) == found


def test_published_data_goes_through(models: Models, test_data: Path, tmp_path: Path, ask: Ask) -> None:
    make = example("make_wsc")
    schemas = write_jsonl(tmp_path / "wsc.jsonl", list(make.wsc273((test_data / "wsc" / "wsc273.txt").read_text())))
    flags = (*OPTIONS, "--inline", "--json")
    answer = ask(
        *("run", schemas, "--out", tmp_path / "wsc", "--model", models["filler"], *flags),
        *("--disambiguate", "--candidates-column", "candidates", "--keep", "answer"),
    )
    assert (answer.code, answer.value["rows"]) == (0, 273), answer.err
    assert len(set(rows(tmp_path / "wsc")["pronoun_answer"].to_pylist())) > 100
    answer = ask(
        *("run", test_data / "commonsense_qa" / "dev_rand_split.jsonl", "--out", tmp_path / "csqa", *flags),
        *("--model", models["chooser"], "--choose", "self", "--choice-format", "csqa", "--batch-docs", 512),
        *("--text-column", "question.stem", "--choices-column", "question.choices", "--keep", "answerKey"),
    )
    assert (answer.code, answer.value["rows"]) == (0, 1221), answer.err
    assert {len(scores) for scores in rows(tmp_path / "csqa")["choice_scores"].to_pylist()} == {5}
