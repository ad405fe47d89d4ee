"""Two plots of the stored results, as PNG: everyone against the ceilings, and everyone on every corpus."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

NAMES = ("engines", "corpora")
COLOURS = {"fp32": "#7f8fa6", "bf16": "#2f7ed8", "int8": "#e08a1e"}


def draw(results: dict[str, Any], folder: Path) -> list[str]:
    """The names of the plots that were written as ``benchmarks-NAME.png``.

    Raises ModuleNotFoundError where there is no matplotlib.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    for name, figure in zip(NAMES, (_engines(results), _corpora(results)), strict=True):
        # No date and no version in the file: the same results give the same bytes.
        figure.savefig(folder / f"benchmarks-{name}.png", dpi=110, bbox_inches="tight", metadata={"Software": None})
    return list(NAMES)


def _engines(results: dict[str, Any]) -> Any:
    from matplotlib.figure import Figure

    name, match = next(iter(results["matches"].items()))
    ranks = sorted(match.items(), key=lambda item: item[1]["median_gflops"])
    figure = Figure(figsize=(9, 0.4 * len(ranks) + 1.6))
    axes = figure.add_subplot()
    for place, (contestant, value) in enumerate(ranks):
        about, middle = results["contestants"][contestant], value["median_gflops"]
        reach = [[middle - min(value["gflops"])], [max(value["gflops"]) - middle]]
        hatch = "//" if about["ours"] else ""
        axes.barh(place, middle, xerr=reach, color=COLOURS[about["kind"]], hatch=hatch, edgecolor="white", capsize=2)
    for kind, colour in COLOURS.items():
        ceiling = statistics.median(found[kind]["layer"] for found in results["ceilings"][name])
        axes.axvline(ceiling, color=colour, linestyle="--", label=f"ceiling of the products, {kind}")
    axes.set_yticks(range(len(ranks)), [contestant for contestant, _ in ranks])
    axes.set_xlabel("GFLOP/s on real tokens, median of the rounds; the lines reach from the slowest to the fastest")
    axes.set_title(f"{results['shape']} shape, {results['corpora'][name]['source']}")
    axes.legend(loc="lower right")
    return figure


def _corpora(results: dict[str, Any]) -> Any:
    from matplotlib.figure import Figure

    matches = results["matches"]
    everywhere = [name for name in results["contestants"] if all(name in match for match in matches.values())]
    figure = Figure(figsize=(9, 4))
    axes = figure.add_subplot()
    width = 0.8 / len(everywhere)
    for number, contestant in enumerate(everywhere):
        about = results["contestants"][contestant]
        axes.bar(
            [place + number * width for place in range(len(matches))],
            [match[contestant]["median_gflops"] for match in matches.values()],
            width,
            label=contestant,
            color=COLOURS[about["kind"]],
            hatch="//" if about["ours"] else ["", "..", "xx"][number % 3],
            edgecolor="white",
        )
    axes.set_xticks([place + 0.4 - width / 2 for place in range(len(matches))], [n.replace("_", " ") for n in matches])
    axes.set_ylabel("GFLOP/s on real tokens")
    axes.set_title(f"{results['shape']} shape: who took part on every corpus")
    axes.legend(fontsize="small")
    return figure
