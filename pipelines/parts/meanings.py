"""What the columns of a feature mean, in words, for the dataset card."""

from __future__ import annotations

from pipelines.spec import (
    EmbeddingOptions,
    FeatureSpec,
    LabelsOptions,
    MultiLabelsOptions,
    RegressionOptions,
    Storage,
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
    return dict(zip(feature.columns, meanings, strict=False))


def _classes(feature: FeatureSpec) -> str:
    return ", ".join(feature.model.labels)


def _embedding(options: EmbeddingOptions, model: str) -> str:
    if options.layers == (-1,):
        of = "the last layer's token vectors"
    else:
        numbers = ", ".join("the last" if number == -1 else str(number) for number in options.layers)
        shares = f" with weights {', '.join(map(str, options.weights))}" if options.weights else ""
        of = f"the token vectors of layer{'s' * (len(options.layers) > 1)} {numbers}{shares}"
    after = "normalised to length 1" if options.normalize else "not normalised"
    if options.dimensions:
        after = f"the first {options.dimensions} numbers, {after}"
    if options.storage is not Storage.FLOAT32:
        after += f", stored as {options.storage}"
    return f"{options.pooling} of {of} of {model}, {after}"
