"""The request of a person, checked: the corpus is listed, the models are found, every contradiction is refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.corpus import CorpusOptions, discover
from pipelines.errors import UsageError
from pipelines.opening.answers import AskedAnswers, answer_features, check_stride
from pipelines.opening.attached import check_attached
from pipelines.opening.classifiers import classifier_features
from pipelines.opening.embeddings import VectorForm, check_form, embedding_features, sentence_limit
from pipelines.opening.questions import AskedQuestions, question_features
from pipelines.opening.spans import AskedSpans, span_features
from pipelines.opening.token_vectors import TokenVectors, token_features
from pipelines.opening.zero_shot import check_room
from pipelines.roberta.checkpoint import CONFIG_FILE, find
from pipelines.roberta.config import parse_config, read_json
from pipelines.spec import TRUNCATED, Dtype, FeatureSpec, Long, LongTexts, ModelRef, Pooling, RunSpec

DEFAULT_MAX_TOKENS = 512
SPECIAL_TOKENS, SPECIAL_TOKENS_OF_PAIRS = 2, 4
"""``<s> A </s>`` and ``<s> A </s></s> B </s>``: so do all RoBERTa, XLM-RoBERTa and CamemBERT checkpoints."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a run was asked for. Empty or None means: the default.

    ``embed`` items are as :mod:`pipelines.opening.embeddings` reads them, ``classify`` items ``self``, MODEL or
    NAME=MODEL, ``thresholds`` P or LABEL=P.
    """

    arguments: tuple[str, ...]
    corpus: CorpusOptions
    model: str
    dtype: Dtype
    batch_documents: int
    embed: tuple[str, ...] = ()
    vectors: VectorForm = field(default_factory=VectorForm)
    classify: tuple[str, ...] = ()
    top_k: int = 0
    thresholds: tuple[str, ...] = ()
    token_vectors: TokenVectors = field(default_factory=TokenVectors)
    spans: AskedSpans = field(default_factory=AskedSpans)
    answers: AskedAnswers = field(default_factory=AskedAnswers)
    questions: AskedQuestions = field(default_factory=AskedQuestions)
    max_tokens: int | None = None
    prefix: str = ""
    batch_invariant: bool = False
    long: LongTexts = TRUNCATED


def make_spec(request: Request) -> RunSpec:
    """The spec of a request.

    Raises UsageError for a contradiction, InputError where the corpus or a model is not as asked for.
    """
    if request.dtype is Dtype.AUTO:
        raise ValueError("dtype auto must be resolved before a spec is made; this is a bug")
    if request.batch_invariant and request.dtype is Dtype.INT8:
        raise UsageError(
            "--batch-invariant cannot be had in int8, whose scales are those of a micro-batch.",
            "Use --dtype float32 or bfloat16.",
        )
    model = find(request.model)
    features = _features(request, model)
    pairs = request.corpus.pair_column is not None
    models = [model, *(feature.model for feature in features)]
    max_tokens = _max_tokens(request.max_tokens, models, sentence_limit(request.embed, model), pairs=pairs)
    _check_long(request.long, max_tokens, pairs=pairs)
    check_stride(request.answers, max_tokens)
    check_room(features, max_tokens, request.long)
    spec = RunSpec(
        corpus=discover(request.arguments, request.corpus),
        model=model,
        features=features,
        max_tokens=max_tokens,
        dtype=request.dtype,
        batch_documents=request.batch_documents,
        prefix=request.prefix,
        batch_invariant=request.batch_invariant,
        long=request.long,
    )
    _refuse_colliding_columns(spec)
    check_attached(spec.corpus)
    return spec


def _features(request: Request, model: ModelRef) -> tuple[FeatureSpec, ...]:
    tokens = request.token_vectors.option
    others = request.classify, tokens, request.spans.models, request.answers.models, request.questions.any
    embed = request.embed or (() if any(others) else (str(Pooling.MEAN),))
    check_form(request.vectors, embeddings=bool(embed), tokens=tokens)
    pairs = request.corpus.pair_column is not None
    layers = parse_config(read_json(Path(model.path) / CONFIG_FILE), model.path).num_hidden_layers
    return (
        *embedding_features(embed, model, request.vectors, layers=layers),
        *classifier_features(request.classify, model, top_k=request.top_k, thresholds=request.thresholds),
        *span_features(request.spans, model, pairs=pairs),
        *answer_features(request.answers, model, pairs=pairs),
        *question_features(request.questions, model, request.corpus, request.long.policy),
        *token_features(
            request.token_vectors, model, request.vectors, layers=layers, pairs=request.corpus.pair_column is not None
        ),
    )


def _max_tokens(asked: int | None, models: Sequence[ModelRef], made_for: int | None, *, pairs: bool) -> int:
    tightest = min(models, key=lambda model: model.token_limit)
    if asked is None:
        return min(DEFAULT_MAX_TOKENS, tightest.token_limit, made_for or DEFAULT_MAX_TOKENS)
    if asked > tightest.token_limit:
        raise UsageError(
            f"--max-tokens {asked} is more than the {tightest.token_limit} that {tightest.source} can take.",
            f"Use at most {tightest.token_limit}.",
        )
    special = SPECIAL_TOKENS_OF_PAIRS if pairs else SPECIAL_TOKENS
    if asked <= special:
        raise UsageError(
            f"--max-tokens {asked} leaves no room for text: {special} are special tokens"
            f"{' around each pair' if pairs else ''}.",
            f"Use at least {special + 1}.",
        )
    return asked


def _check_long(long: LongTexts, max_tokens: int, *, pairs: bool) -> None:
    if long.policy is not Long.WINDOW:
        if long.stride:
            raise UsageError("--stride is about windows.", "Add --long window.")
        return
    if pairs:
        raise UsageError(
            "--long window cannot be had with --pair-column: a window would tear the pair.",
            "Use --long truncate or error.",
        )
    room = max_tokens - SPECIAL_TOKENS
    if long.stride >= room:
        raise UsageError(
            f"--stride {long.stride} leaves windows of {room} tokens nowhere to go.",
            f"Use less than {room}: it is how many tokens neighbours share.",
        )


def _refuse_colliding_columns(spec: RunSpec) -> None:
    doubled = [name for name, count in Counter(spec.column_names).items() if count > 1]
    if doubled:
        raise UsageError(
            f"The dataset would have {doubled[0]!r} more than once (columns: {', '.join(spec.column_names)}).",
            "Give one another name: --embed NAME=…, --classify NAME=MODEL, or --keep COLUMN=NAME.",
        )
