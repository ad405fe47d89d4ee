"""What the columns of a feature mean, in words, for the dataset card."""

from __future__ import annotations

from pipelines.spec import (
    AnswerOptions,
    ChoiceOptions,
    EmbeddingOptions,
    FeatureSpec,
    FillMaskOptions,
    LabelsOptions,
    MultiLabelsOptions,
    PronounOptions,
    RegressionOptions,
    SpansOptions,
    Storage,
    TokensOptions,
    WordsOptions,
    WordSource,
    ZeroShotOptions,
)


def column_meanings(feature: FeatureSpec) -> dict[str, str]:
    """What stands in each column of a feature."""
    model = feature.model.source
    match feature.options:
        case EmbeddingOptions() as options:
            meanings = [
                _embedding(options, model),
                f"what the numbers of `{feature.columns[0]}` are to be multiplied by",
            ]
        case LabelsOptions(top_k=top_k):
            scores = feature.columns[2]
            meanings = [
                f"the class that {model} gives",
                f"its probability, the largest of `{scores}`",
                f"probabilities of the classes in order: {_classes(feature)}",
                f"the {top_k} best classes, the best first",
                "their probabilities",
            ]
        case MultiLabelsOptions(thresholds=thresholds):
            meanings = [
                f"the classes that {model} gives, each of at least its threshold ({', '.join(map(str, thresholds))})",
                f"probability of each class by itself, in order: {_classes(feature)}",
            ]
        case RegressionOptions():
            meanings = [f"the number that {model} gives"]
        case SpansOptions(aggregation=aggregation):
            meanings = [f"what {model} finds in the text (aggregation {aggregation}); begin and end in characters"]
        case AnswerOptions(max_answer_tokens=most, always=always):
            none = "the context has no token" if always else "none is likelier"
            meanings = [
                f"the answer of at most {most} tokens that {model} finds in the context, null where {none}",
                "of the best answer, given or not: the logit of its first token to begin it and of its last to end it",
                "the character of the context where it begins",
                "the character of the context behind it",
                "the same of no answer",
            ]
        case ZeroShotOptions(each=each):
            how = "each by itself, against contradiction" if each else "of all together"
            meanings = [
                f"the label that the text entails most, as {model} finds",
                "its score",
                f"scores of the labels in order, {how}: {', '.join(feature.options.labels)}",
            ]
        case ChoiceOptions(format=format_):
            meanings = [
                f"the number, from 0, of the choice that {model} scores best (format {format_})",
                "its text",
                "the probability of each choice",
            ]
        case FillMaskOptions(count=count):
            meanings = [f"the {count} tokens that {model} finds likeliest for the mask, and the text with each"]
        case PronounOptions():
            meanings = [
                f"what the pronoun stands for, as {model} finds, where there is no query",
                "whether it is the query, where there is one",
                "the query, if there is one, and the candidates: mean log probability of their tokens",
            ]
        case TokensOptions() as tokens:
            meanings = [
                f"the tokens that {model} reads, as text, special ones included",
                "their numbers in its vocabulary",
                "the character of the text that each begins with",
                "the character behind each",
                *_of_each("the vector of each token", feature, tokens),
            ]
        case WordsOptions() as words:
            found = "as the built-in splitter finds them" if words.source is WordSource.SPLIT else "between blanks"
            meanings = [
                f"the words, {found}, between `<s>` and what is behind the last one",
                "the character of the text that each begins with",
                "the character behind each",
                *_of_each("the sum of the shares that each word has in its tokens' vectors", feature, words),
            ]
    return dict(zip(feature.columns, meanings, strict=False))


def _classes(feature: FeatureSpec) -> str:
    return ", ".join(feature.model.labels)


def _of_each(what: str, feature: FeatureSpec, options: TokensOptions | WordsOptions) -> list[str]:
    """What stands in each column of vectors."""
    stored = "" if options.storage is Storage.FLOAT32 else f", stored as {options.storage}"
    layers = [(layer,) for layer in options.layers] if options.each else [options.layers]
    return [f"{what}: {_layers(of, options.weights)} of {feature.model.source}{stored}" for of in layers]


def _layers(layers: tuple[int, ...], weights: tuple[float, ...]) -> str:
    if layers == (-1,):
        return "the last layer"
    numbers = ", ".join("the last" if number == -1 else str(number) for number in layers)
    shares = f" with weights {', '.join(map(str, weights))}" if weights else ""
    return f"layer{'s' * (len(layers) > 1)} {numbers}{shares}"


def _embedding(options: EmbeddingOptions, model: str) -> str:
    if options.layers == (-1,):
        of = "the last layer's token vectors"
    else:
        of = f"the token vectors of {_layers(options.layers, options.weights)}"
    after = "normalised to length 1" if options.normalize else "not normalised"
    if options.dense:
        after = f"through {len(options.dense)} dense layer{'s' * (len(options.dense) > 1)}, {after}"
    if options.dimensions:
        after = f"the first {options.dimensions} numbers, {after}"
    if options.storage is not Storage.FLOAT32:
        after += f", stored as {options.storage}"
    return f"{options.pooling} of {of} of {model}, {after}"
