"""What a GPU showed (:mod:`benchmarks.gpu`), as the tables of a page."""

from __future__ import annotations

from typing import Any


def table(results: dict[str, Any]) -> str:
    """What was measured, for a page."""
    versions = results["machine"]["versions"]
    lines = [
        f"{results['machine']['device']}, torch {versions['torch']}, transformers {versions['transformers']}, "
        f"{results['dtype']}; a large product reaches {results['limit_tflops']:.1f} TFLOP/s. "
        f"Checks: {results['checks']}",
        "",
        "| shape | documents | tokens/s | TFLOP/s | of the large product | of the layer's | attention alone, TFLOP/s | "
        "over the best peer |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, shape in results["shapes"].items():
        for kind, found in shape["ids"].items():
            peer = found["peer_tokens_per_s"]
            over = f"{found['tokens_per_s'] / peer:.2f} ({found['peer']})" if peer else "every peer failed"
            lines.append(
                f"| {name} | {kind} | {found['tokens_per_s']:,.0f} | {found['tflops']:.1f} | "
                f"{found['tflops'] / results['limit_tflops']:.2f} | {found['tflops'] / shape['layer_tflops']:.2f} | "
                f"{found['attention_tflops']:.1f} | {over} |"
            )
    compiled = {name: shape["compiled"] for name, shape in results["shapes"].items()}
    lines += ["", "Compiled peers: " + "; ".join(f"{name}: {said}" for name, said in compiled.items()) + "."]
    lines += ["", "| shape | text → Arrow, documents/s | text → Parquet | ratio |", "|---|---|---|---|"]
    for name, shape in results["shapes"].items():
        text = shape["text"]
        there, why = text.get("run_documents_per_s"), text.get("run_not_measured")
        ratio = f"{there:,.1f} | {there / text['extractor_documents_per_s']:.2f}" if there else f"{why} | not measured"
        lines.append(f"| {name} | {text['extractor_documents_per_s']:,.1f} | {ratio} |")
    return "\n".join(lines)
