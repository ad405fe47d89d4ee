"""Devices by UUID, the slots that processes are pinned to, and what number format they are good at.

Nothing here loads torch: a parent that did could not pin its children any more.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pipelines.errors import SurroundingsError, UsageError
from pipelines.spec import Dtype
from worker.cores import usable_cores
from worker.settings import Settings, cuda_visible_devices, environment_for_child, thread_limit

log = logging.getLogger(__name__)

PROBE_TIMEOUT_S = 120
_NVIDIA_SMI = ("nvidia-smi", "--query-gpu=index,uuid,name,memory.total", "--format=csv,noheader,nounits")

# Read by a fresh interpreter, so that this one stays free of torch. oneDNN also "supports" bfloat16 by emulation, which
# is slower than float32: only the processor's own instructions count.
_PROBE = """
import json, torch
if torch.cuda.is_available():
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    good = all(torch.cuda.get_device_capability(i) >= (8, 0) for i in range(len(names)))
else:
    from pipelines.roberta.native import bfloat16_pays
    names, good = [], bfloat16_pays()
print(json.dumps({"gpus": names, "bfloat16": good}))
"""


class Gpu(NamedTuple):
    """One GPU as ``nvidia-smi`` lists it; ``number`` is its index there (in PCI bus order)."""

    number: int
    uuid: str
    name: str
    memory_mib: int


@dataclass(frozen=True, slots=True)
class Slot:
    """One device that one worker process is pinned to.

    ``name`` is ``cpu:0`` or ``gpu:0``; ``device`` is ``cpu`` or the GPU's UUID; ``threads`` is the process's share of
    the cores; ``environment`` is what pins it, and must be in place before the process starts.
    """

    name: str
    device: str
    threads: int
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def is_gpu(self) -> bool:
        return self.device != "cpu"


def slots(devices: str) -> list[Slot]:
    """The slots that ``--devices`` asks for: ``auto``, ``cpu``, ``cpu:N``, or GPUs by index or UUID.

    Raises UsageError where the words mean nothing and SurroundingsError where there is no such device.
    """
    wish = devices.strip()
    if wish == "auto":
        gpus = visible_gpus()
        return _gpu_slots(gpus) if gpus else _cpu_slots(1)
    if wish == "cpu":
        return _cpu_slots(1)
    if wish.startswith("cpu:"):
        count = wish.removeprefix("cpu:")
        if not count.isdecimal() or int(count) < 1:
            raise UsageError(f"--devices {devices} names no number of processes.", "Write cpu:N with N at least 1.")
        return _cpu_slots(int(count))
    names = [name.strip() for name in wish.split(",")]
    if not all(_looks_like_gpu(name) for name in names):
        raise UsageError(
            f"--devices {devices!r} is not understood.",
            "Write auto, cpu, cpu:N, or GPUs by index or UUID, separated by commas.",
        )
    gpus = visible_gpus()
    chosen = [_find(name, gpus, position) for position, name in enumerate(names)]
    if len(set(chosen)) < len(chosen):
        raise UsageError(f"--devices {devices} names a GPU twice.", "One process per GPU: name each once.")
    return _gpu_slots(chosen)


def gpus() -> list[Gpu]:
    """The GPUs of this machine; none where ``nvidia-smi`` is missing or fails."""
    try:
        answer = subprocess.run(_NVIDIA_SMI, capture_output=True, text=True, timeout=30, check=False)  # noqa: S603 (fixed)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return parse_gpus(answer.stdout) if answer.returncode == 0 else []


def parse_gpus(listing: str) -> list[Gpu]:
    """GPUs out of ``nvidia-smi``'s lines ``index, uuid, name, MiB``; a line that is none (a warning) is skipped."""
    found = []
    for line in listing.splitlines():
        fields = [value.strip() for value in line.split(",")]
        if len(fields) == 4 and fields[0].isdecimal():
            found.append(Gpu(int(fields[0]), fields[1], fields[2], int(fields[3]) if fields[3].isdecimal() else 0))
    return found


def visible_gpus() -> list[Gpu]:
    """The GPUs that CUDA_VISIBLE_DEVICES leaves to this process; its order counts, as it does for CUDA."""
    found, allowed = gpus(), cuda_visible_devices()
    if allowed is None:
        return found
    visible: list[Gpu] = []
    for name in (part.strip() for part in allowed.split(",")):
        match = [gpu for gpu in found if _is(gpu, name)]
        if found and name.startswith("MIG-"):
            match = [_slice(name, len(visible))]
        if not match:  # CUDA stops reading at the first name that means nothing (NoDevFiles, -1, the empty string)
            break
        visible += match[:1]
    return visible


def probe_dtype(chosen: Sequence[Slot], settings: Settings) -> Dtype:
    """What ``--dtype auto`` means on these slots: bfloat16 where every one computes it faster, else float32.

    Asks a fresh interpreter, which may load torch. Raises SurroundingsError where torch cannot use the devices.
    """
    pin = dict(chosen[0].environment)
    if chosen[0].is_gpu:
        pin["CUDA_VISIBLE_DEVICES"] = ",".join(slot.device for slot in chosen)
    try:
        answer = subprocess.run(  # noqa: S603 (our own words, no shell)
            [sys.executable, "-c", _PROBE],
            env=environment_for_child(
                settings, {**pin, "PYTHONSAFEPATH": "1"}
            ),  # the folder's own files are none of ours
            capture_output=True,
            text=True,
            timeout=PROBE_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise SurroundingsError(f"torch did not start within {PROBE_TIMEOUT_S} s.", "Name the --dtype.") from None
    if answer.returncode != 0:
        reason = (answer.stderr.strip().splitlines() or [f"exit status {answer.returncode}"])[-1]
        raise SurroundingsError(f"torch cannot be used: {reason}.", "Install penstock anew, or name the --dtype.")
    found = json.loads(answer.stdout.strip().splitlines()[-1])
    if chosen[0].is_gpu and len(found["gpus"]) != len(chosen):
        raise SurroundingsError(
            f"torch sees {len(found['gpus'])} of the {len(chosen)} chosen GPUs.",
            "Install a torch built for this machine's CUDA driver, or use --devices cpu.",
        )
    return Dtype.BFLOAT16 if found["bfloat16"] else Dtype.FLOAT32


def _cpu_slots(count: int) -> list[Slot]:
    cores = usable_cores()
    if count > cores:
        log.warning("cpu:%d asks for more processes than the %d core(s) there are; they will share them", count, cores)
    return [
        Slot(f"cpu:{number}", "cpu", threads, _environment("", threads))
        for number, threads in enumerate(_shares(cores, count))
    ]


def _gpu_slots(chosen: Sequence[Gpu]) -> list[Slot]:
    return [
        Slot(f"gpu:{gpu.number}", gpu.uuid, threads, _environment(gpu.uuid, threads))
        for gpu, threads in zip(chosen, _shares(usable_cores(), len(chosen)), strict=True)
    ]


def _shares(cores: int, count: int) -> list[int]:
    """Threads for each of ``count`` processes: all cores between them, at least one each."""
    limit = thread_limit() or cores
    return [max(1, min(limit, cores // count + (number < cores % count))) for number in range(count)]


def _environment(visible: str, threads: int) -> dict[str, str]:
    libraries = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
    return {
        "CUDA_VISIBLE_DEVICES": visible,
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        **dict.fromkeys(libraries, str(threads)),
        "TOKENIZERS_PARALLELISM": "true",
    }


def _looks_like_gpu(name: str) -> bool:
    return name.isdecimal() or name.startswith(("GPU-", "MIG-"))


def _is(gpu: Gpu, name: str) -> bool:
    """Whether a name means this GPU: its index, or its UUID or the beginning of it, as CUDA takes it."""
    return gpu.number == int(name) if name.isdecimal() else name.startswith("GPU-") and gpu.uuid.startswith(name)


def _slice(name: str, number: int) -> Gpu:
    """A part of a GPU: nvidia-smi's query lists none, so the worker's own check of its pin has to do."""
    return Gpu(number, name, "MIG slice", 0)


def _find(name: str, visible: Sequence[Gpu], position: int) -> Gpu:
    if visible and name.startswith("MIG-"):
        return _slice(name, position)
    matches = [gpu for gpu in visible if _is(gpu, name)]
    if len(matches) == 1:
        return matches[0]
    there = "; ".join(f"{gpu.number}: {gpu.uuid} ({gpu.name})" for gpu in visible)
    what = f"{name} is the beginning of several UUIDs" if matches else f"GPU {name} is none this process may see"
    if not there:
        raise SurroundingsError(f"{what}: nvidia-smi lists none at all.", "Use --devices cpu.")
    raise SurroundingsError(f"{what}.", f"There are: {there}.")
