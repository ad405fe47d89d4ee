"""One text by hand: plain lines, one JSON object with --json, and refusals in one line that say what to do."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from acceptance.conftest import Ask
from parity.lm_models import add_lm_head

from pipelines.hub import Roberta
from pipelines.readings.noun_phrases import MODEL

SCHEMA = "The _trophy_ is not in the suitcase because [it] is too big."


@pytest.fixture(scope="module")
def speaker(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with a language model head."""
    return add_lm_head(tiny_model, tmp_path_factory.mktemp("by-hand") / "lm")


def test_ids_go_there_and_back(ask: Ask, tiny_model: Path) -> None:
    roberta = Roberta.load(str(tiny_model))
    text = "the river </s>\nturns 👩🏽‍🚀 "
    ids = ask("encode", text, "--model", tiny_model)
    assert (ids.code, ids.err) == (0, "")
    assert [int(word) for word in ids.out.split()] == roberta.encode(text).tolist()
    assert ask("decode", *ids.out.split(), "--model", tiny_model).out == "the river </s>\nturns 👩🏽\\u200d🚀 \n"
    assert ask("decode", "-", "--model", tiny_model, "--json", stdin=ids.out.encode()).value == {"texts": [text]}
    assert ask("encode", "-", "--model", tiny_model, stdin=text.encode() + b"\r\n").out == ids.out

    pair = ask("encode", "the river", " turns", "--model", tiny_model, "--json").value
    assert pair["ids"] == roberta.encode("the river", " turns").tolist()
    assert "".join(pair["tokens"]) == "<s>the river</s></s> turns</s>"
    assert ask("decode", *pair["ids"], "--model", tiny_model).out == "the river\n turns\n"
    joined = ask("encode", "the river", " turns", "--no-separator", "--model", tiny_model, "--json").value
    assert joined["ids"] == roberta.encode("the river", " turns", no_separator=True).tolist()
    assert ask("encode", "", "--model", tiny_model).out == "0 2\n"


def test_labels_come_with_their_probabilities(ask: Ask, tiny_classifier: Path) -> None:
    roberta = Roberta.load(str(tiny_classifier))
    scores = roberta.predict("classifier", roberta.encode("the river", "a pump"))[0].exp()
    value = ask("predict", "the river", "a pump", "--model", tiny_classifier, "--json").value
    assert value["labels"] == ["calm", "busy", "loud"]
    assert value["scores"] == pytest.approx(scores.tolist())
    assert (value["label"], value["score"]) == (value["labels"][int(scores.argmax())], max(value["scores"]))
    lines = ask("predict", "the river", "a pump", "--model", tiny_classifier).out.splitlines()
    assert lines[0] == f"{value['score']:.5f}  {value['label']}"
    assert {line.split()[1] for line in lines} == {"calm", "busy", "loud"}


def test_a_regression_has_a_value(
    ask: Ask, tiny_model: Path, make_model: Callable[..., Path], texts: list[str], tmp_path: Path
) -> None:
    folder = make_model(texts, tmp_path / "stars", labels=["stars"], encoder_from=tiny_model)
    roberta = Roberta.load(str(folder))
    expected = float(roberta.predict("classifier", roberta.encode("a pump"), return_logits=True))
    assert ask("predict", "a pump", "--model", folder, "--json").value == {"value": pytest.approx(expected)}
    assert ask("predict", "a pump", "--model", folder).out == f"{expected:.6g}\n"


def test_masks_are_filled(ask: Ask, speaker: Path) -> None:
    filled = Roberta.load(str(speaker)).fill_mask("the river <mask>\nthe old mill.", topk=3)
    text = "the river <mask>\nthe old mill."
    value = ask("fill-mask", text, "--model", speaker, "--top-k", 3, "--json").value
    assert [(fill["text"], fill["token"]) for fill in value["fills"]] == [(whole, token) for whole, _, token in filled]
    assert [fill["rank"] for fill in value["fills"]] == [1, 2, 3]
    lines = ask("fill-mask", "-", "--model", speaker, "--top-k", 3, stdin=text.encode()).out.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith(f"  1  {filled[0][1]:.5f}")
    assert lines[0].endswith("\\nthe old mill.")


def test_pronouns_are_said(ask: Ask, speaker: Path) -> None:
    weighed = Roberta.load(str(speaker)).weigh_pronoun(SCHEMA, ["the suitcase"])
    asked = ("disambiguate", SCHEMA, "--model", speaker, "--candidate", "the suitcase", "--candidate", "The trophy")
    value = ask(*asked, "--json").value
    assert value["answer"] is weighed.answer
    assert [(row["text"], row["log_probability"]) for row in (value["query"], *value["candidates"])] == [
        ("trophy", pytest.approx(weighed.query[1])),  # type: ignore[index]  # it has a query
        ("the suitcase", pytest.approx(weighed.candidates[0][1])),
    ]
    assert ask(*asked).out == ("yes\n" if weighed.answer else "no\n")
    free = ask("disambiguate", "so [it] is", "--model", speaker, "--candidate", "a", "--candidate", "the mill")
    assert free.out in ("a\n", "the mill\n")


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (("fill-mask", "no mask"), "The text has <mask> 0 times, wanted once. Write it"),
        (("fill-mask", "<mask>" + " river" * 300), "> 128. Give a shorter text, or parts of it."),
        (("disambiguate", "no pronoun", "--candidate", "a"), "The sentence has 0 [pronouns] in brackets, wanted one."),
        (("disambiguate", SCHEMA, "--candidate", "trophy"), "There is no candidate for the pronoun beside 'trophy'."),
        pytest.param(
            ("disambiguate", SCHEMA),
            f"{MODEL}, the model of spaCy",
            marks=pytest.mark.skipif(importlib.util.find_spec(MODEL) is not None, reason=f"{MODEL} is installed"),
        ),
        (("predict", "a text"), "has no classifier, it is an encoder with a language model head"),
        (("decode", "0", "99999"), "There is no token 99999 in a vocabulary of 600. Give ids that `penstock encode`"),
        (("encode", "caf\udce9"), "half of a surrogate pair (U+DCE9 at character 3)"),
        (("encode", "a", "--model", "nowhere"), "There is no model folder 'nowhere'."),
        (("predict", "a", "--device", "gpu"), "There is no device 'gpu'."),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_one_line_and_3(ask: Ask, speaker: Path, arguments: tuple[str, ...], found: str) -> None:
    model = () if "--model" in arguments else ("--model", speaker)
    answer = ask(*arguments, *model)
    assert (answer.code, answer.out) == (3, "")
    assert answer.err.startswith("penstock: ")
    assert answer.err.count("\n") == 1
    assert found in answer.err


def test_a_model_among_the_user_s_goes_by_its_name(
    ask: Ask, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "mine").symlink_to(tiny_model)
    monkeypatch.setenv("PENSTOCK_MODELS_DIR", str(tmp_path / "models"))
    assert ask("encode", "", "--model", "mine").out == "0 2\n"
    assert "has no language model head" in ask("fill-mask", "<mask>", "--model", "mine").err


def test_wrong_usage_is_2(ask: Ask, tiny_model: Path) -> None:
    for arguments in (
        ("decode", "zero"),
        ("decode", "0", "-1"),
        ("encode",),
        ("encode", "-", "-"),
        ("fill-mask", "<mask>", "--top-k", "0"),
        ("predict", "a", "--dtype", "auto"),
    ):
        assert ask(*arguments, "--model", tiny_model).code == 2, arguments
    assert ask("encode", "a").code == 2
    assert ask("encode", "-", "--model", tiny_model, stdin=b"caf\xe9").code == 3


def test_ids_need_no_torch(tiny_model: Path) -> None:
    call = f"main(['encode', 'the river', '--model', {str(tiny_model)!r}])"
    watch = "import atexit, sys\natexit.register(lambda: print('torch' in sys.modules))"
    code = f"{watch}\nfrom worker.cli import main\n{call}"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines()[-1] == "False"


def test_each_label_of_a_multi_label_classifier_is_judged_by_itself(
    tiny_classifier: Path, tmp_path: Path, ask: Ask
) -> None:
    folder = tmp_path / "multi"
    shutil.copytree(tiny_classifier, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "problem_type": "multi_label_classification"}))
    one = ask("predict", "the river turns", "--model", str(tiny_classifier), "--json").value
    several = ask("predict", "the river turns", "--model", str(folder), "--json").value
    logits = np.log(one["scores"])  # up to a constant, which a logistic function would show
    assert np.ptp(np.log(np.array(several["scores"]) / (1 - np.array(several["scores"]))) - logits) < 1e-4
    likely = [label for label, score in zip(several["labels"], several["scores"], strict=True) if score >= 0.5]
    assert sorted(several["likely"]) == sorted(likely)
    assert "label" not in several
