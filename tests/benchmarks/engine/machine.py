"""What the benchmark ran on: CPU and its instructions, cores, memory, versions, and how busy the machine was."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from worker.cores import usable_cores

FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_int8")
PACKAGES = (
    "penstock", "torch", "transformers", "tokenizers", "sentence-transformers", "openvino", "nncf", "onnx",
    "onnxruntime", "ctranslate2", "numpy", "pyarrow",
)  # fmt: skip


def machine() -> dict[str, Any]:
    """The machine and the versions of what is compared."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = set(facts.get("flags", "").split())
    return {
        "cpu": facts.get("model name", platform.processor() or "unknown"),
        "cores": usable_cores(),
        "cores_of_the_machine": os.cpu_count(),
        "flags": [flag for flag in FLAGS if flag in flags],
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
    }


def load() -> list[float]:
    """The load average of the last 1, 5 and 15 minutes."""
    return [round(value, 2) for value in os.getloadavg()]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
