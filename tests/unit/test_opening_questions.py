"""What is asked of models that cannot answer, or in a way that contradicts itself, is refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from parity.choice_models import add_choice_head
from parity.lm_models import add_lm_head
from pyarrow import csv
from pyarrow import parquet as pq

from pipelines.corpus import CorpusOptions
from pipelines.errors import InputError, PenstockError, UsageError
from pipelines.opening.choices import AskedChoice
from pipelines.opening.questions import AskedQuestions
from pipelines.opening.request import Request, make_spec
from pipelines.opening.zero_shot import AskedZeroShot
from pipelines.spec import (
    Attached,
    ChoiceFormat,
    ChoiceOptions,
    Dtype,
    FeatureKind,
    FillMaskOptions,
    Long,
    LongTexts,
    PronounOptions,
    Role,
    RunSpec,
    ZeroShotOptions,
    from_json,
    to_json,
)

CHOICES, CONTEXT = Attached(Role.CHOICES, "options"), Attached(Role.CONTEXT, "article")
CANDIDATES = Attached(Role.CANDIDATES, "options")
TOPICS = AskedZeroShot(("sports, world news", "a mill"))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "c.jsonl"
    path.write_text(json.dumps({"text": "a <mask>", "options": ["x", "y"], "article": "long"}) + "\n")
    return path


@pytest.fixture(scope="module")
def models(tiny_model: Path, tiny_classifier: Path, make_model: Callable[..., Path], tmp_path_factory: Any) -> Any:
    root = tmp_path_factory.mktemp("models")
    return {
        "encoder": tiny_model,
        "moods": tiny_classifier,
        "nli": make_model([], root / "nli", labels=("ENTAILMENT", "neutral", "Contradiction"), encoder_from=tiny_model),
        "rte": make_model([], root / "rte", labels=("entailment", "not_entailment"), encoder_from=tiny_model),
        "sided": make_model([], root / "sided", labels=("entailment", "neutral", "other"), encoder_from=tiny_model),
        "choices": add_choice_head(tiny_model, root / "choices"),
        "ranking": add_choice_head(tiny_model, root / "ranking", ranking=True),
        "filler": add_lm_head(tiny_model, root / "filler"),
    }


Models = dict[str, Path]


def spec_of(corpus: Path, model: Path, asked: AskedQuestions, *attached: Attached, **options: Any) -> RunSpec:
    read = CorpusOptions(attached=attached, pair_column=options.pop("pair_column", None))
    given: dict[str, Any] = {"dtype": Dtype.FLOAT32, "batch_documents": 64, "questions": asked, **options}
    return make_spec(Request((str(corpus),), read, str(model), **given))


def refused(
    wanted: type[PenstockError], corpus: Path, model: Path, asked: AskedQuestions, *attached: Attached, **options: Any
) -> str:
    with pytest.raises(wanted) as caught:
        spec_of(corpus, model, asked, *attached, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_asked_alone_brings_no_embedding_and_travels(corpus: Path, models: Models) -> None:
    zero_shot = spec_of(corpus, models["nli"], AskedQuestions(zero_shot=TOPICS))
    choice = spec_of(corpus, models["choices"], AskedQuestions(choice=AskedChoice("self")), CHOICES, CONTEXT)
    fills = spec_of(corpus, models["filler"], AskedQuestions(fill_mask=3))
    pronouns = spec_of(corpus, models["filler"], AskedQuestions(disambiguate=True), CANDIDATES)
    assert [feature.options for spec in (zero_shot, choice, fills, pronouns) for feature in spec.features] == [
        ZeroShotOptions(("sports", "world news", "a mill")),
        ChoiceOptions(),
        FillMaskOptions(3),
        PronounOptions(),
    ]
    for spec in (zero_shot, choice, fills, pronouns):
        assert from_json(json.loads(json.dumps(to_json(spec)))) == spec
    assert "choice_scores" in choice.column_names


def test_all_of_it_can_be_had_at_once(corpus: Path, models: Models) -> None:
    asked = AskedQuestions(
        AskedZeroShot(("a", "b"), nli=str(models["nli"])),
        AskedChoice(str(models["ranking"]), ChoiceFormat.RACE),
        fill_mask=2,
        disambiguate=True,
    )
    spec = spec_of(corpus, models["filler"], asked, CHOICES, CONTEXT, CANDIDATES, embed=("cls",))
    assert [feature.kind for feature in spec.features] == [
        *(FeatureKind.EMBEDDING, FeatureKind.ZERO_SHOT, FeatureKind.CHOICE, FeatureKind.FILL_MASK, FeatureKind.PRONOUN),
    ]
    assert len({feature.model.encoder_digest for feature in spec.features}) == 1


@pytest.mark.parametrize(
    ("model", "asked", "attached", "wanted"),
    [
        ("encoder", AskedQuestions(zero_shot=TOPICS), (), "has no sequence classifier head"),
        ("moods", AskedQuestions(zero_shot=TOPICS), (), "no label of entailment, it has calm, busy, loud"),
        ("sided", AskedQuestions(zero_shot=AskedZeroShot(("a", "b"), each=True)), (), "no label of contradiction"),
        ("sided", AskedQuestions(zero_shot=AskedZeroShot(("a",))), (), "no label of contradiction"),
        (
            "encoder",
            AskedQuestions(choice=AskedChoice("self")),
            (CHOICES,),
            "has no head that scores choices, it is an encoder",
        ),
        ("moods", AskedQuestions(choice=AskedChoice("self")), (CHOICES,), "sequence classifier head of 3 outputs"),
        ("encoder", AskedQuestions(fill_mask=1), (), "has no language model head"),
        ("choices", AskedQuestions(fill_mask=1), (), "a multiple choice head"),
        ("moods", AskedQuestions(disambiguate=True), (CANDIDATES,), "has no language model head"),
    ],
)
def test_a_model_that_cannot_answer_is_refused_with_what_it_has(
    model: str, asked: AskedQuestions, attached: tuple[Attached, ...], wanted: str, corpus: Path, models: Models
) -> None:
    message = refused(InputError, corpus, models[model], asked, *attached)
    assert wanted in message
    assert str(models[model]) in message


@pytest.mark.parametrize(
    ("model", "asked", "attached", "options", "wanted"),
    [
        ("nli", AskedQuestions(AskedZeroShot(each=True)), (), {}, "about labels, of which there are none"),
        ("nli", AskedQuestions(AskedZeroShot(("a,",))), (), {}, "a label of nothing but blanks"),
        ("nli", AskedQuestions(AskedZeroShot(("a", "b, a"))), (), {}, "the label 'a' twice"),
        ("nli", AskedQuestions(AskedZeroShot(("a",), "It is."), 0), (), {}, "'It is.' has no {}"),
        ("nli", AskedQuestions(zero_shot=TOPICS), (), {"pair_column": "article"}, "second sentence is the hypothesis"),
        ("nli", AskedQuestions(zero_shot=TOPICS), (), {"max_tokens": 8}, "--max-tokens 8 leaves no room"),
        (
            *("nli", AskedQuestions(zero_shot=TOPICS), ()),
            *({"max_tokens": 60, "long": LongTexts(Long.WINDOW, 57)}, "beside their hypothesis nowhere to go"),
        ),
        ("choices", AskedQuestions(choice=AskedChoice("self")), (), {}, "Name their column with --choices-column"),
        ("choices", AskedQuestions(), (CHOICES,), {}, "Add --choose self"),
        ("choices", AskedQuestions(choice=AskedChoice(None, ChoiceFormat.CSQA)), (), {}, "Add --choose self"),
        (
            *("choices", AskedQuestions(choice=AskedChoice("self", ChoiceFormat.RACE)), (CHOICES,), {}),
            "needs a context",
        ),
        (
            *("choices", AskedQuestions(choice=AskedChoice("self", ChoiceFormat.CSQA)), (CHOICES, CONTEXT), {}),
            "has no place for a context",
        ),
        (
            *("choices", AskedQuestions(choice=AskedChoice("self")), (CHOICES,), {"long": LongTexts(Long.WINDOW)}),
            "tear questions from their choices",
        ),
        ("filler", AskedQuestions(fill_mask=10**6), (), {}, "filler knows. Use at most 600."),
        ("filler", AskedQuestions(fill_mask=1), (), {"pair_column": "article"}, "cannot be had with --pair-column"),
        ("filler", AskedQuestions(), (CANDIDATES,), {}, "Add --disambiguate"),
        (
            *("filler", AskedQuestions(disambiguate=True), (CANDIDATES,), {"pair_column": "article"}),
            "cannot be had with --pair-column",
        ),
    ],
)
def test_contradictions_are_refused(
    model: str,
    asked: AskedQuestions,
    attached: tuple[Attached, ...],
    options: dict[str, Any],
    wanted: str,
    corpus: Path,
    models: Models,
) -> None:
    assert wanted in refused(UsageError, corpus, models[model], asked, *attached, **options)


def test_without_candidates_something_must_be_there_to_find_them(
    corpus: Path, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.opening.masks.MODEL", "no_such_model_of_spacy")
    message = refused(InputError, corpus, models["filler"], AskedQuestions(disambiguate=True))
    assert "--candidates-column" in message
    assert "python -m spacy download no_such_model_of_spacy" in message


@pytest.mark.parametrize("end", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize(
    ("attached", "values", "said"),
    [
        (
            CHOICES,
            [1, 2],
            "Column 'options' is no column of choices: the choices are a number, wanted a list of texts.",
        ),
        (CHOICES, [None, "Mill", "Pump"], "column of choices: the choices are text that is no JSON, wanted a list"),
        (CHOICES, ["mill", '["mill"]'], None),
        (CANDIDATES, ["[]", "[]"], "column of candidates: the candidates are an empty list, wanted at least one text."),
        (CANDIDATES, [None, None], None),  # values may come later
    ],
)
def test_a_column_that_never_holds_what_is_asked_of_it_is_refused(
    end: str, attached: Attached, values: list[Any], said: str | None, models: Models, tmp_path: Path
) -> None:
    rows = pa.table({"text": ["a [it]"] * len(values), attached.column: values})
    path = tmp_path / f"c.{end}"
    if end == "parquet":
        pq.write_table(rows, path)
    elif end == "csv":
        csv.write_csv(rows, path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows.to_pylist()))
    model, asked = models["choices"], AskedQuestions(choice=AskedChoice("self"))
    if attached is CANDIDATES:
        model, asked = models["filler"], AskedQuestions(disambiguate=True)
    if said is None:
        assert spec_of(path, model, asked, attached).corpus.attached == (attached,)
        return
    message = refused(InputError, path, model, asked, attached)
    assert said in message
    assert f" None of the values looked at (2) is one. Name another with --{attached.role}-column." in message


def test_a_context_is_a_text(models: Models, tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text(json.dumps({"text": "a", "options": ["x", "y"], "article": 5}) + "\n")
    message = refused(InputError, path, models["choices"], AskedQuestions(choice=AskedChoice("self")), CHOICES, CONTEXT)
    assert "Column 'article' is no column of context: the context is a number, wanted a text." in message


def test_of_two_classes_the_other_one_contradicts(corpus: Path, models: Models) -> None:
    asked = AskedQuestions(AskedZeroShot(("a",), each=True))
    (feature,) = spec_of(corpus, models["rte"], asked).features
    assert feature.options == ZeroShotOptions(("a",), each=True)
