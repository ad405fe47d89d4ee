"""What `doctor` looks at on this machine: software, devices, cores, number formats, and a model."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import PackageNotFoundError, requires, version

from pipelines.errors import SurroundingsError
from pipelines.roberta import checkpoint
from pipelines.spec import Dtype, ModelRef
from worker import gpu
from worker.cli.findings import Finding, State
from worker.cli.model_names import model_source
from worker.cores import usable_cores
from worker.settings import Settings

_SHOWN = ("celery", "kombu", "redis", "torch", "transformers", "pyarrow")
_WITH_CELERY = "kombu"
"""Not asked for by itself: it comes with Celery, whose release it must have."""


def software() -> list[Finding]:
    """The versions that decide behaviour, and whether they are among those that were tried."""
    versions = {name: _version(name) for name in _SHOWN}
    found = ", ".join(f"{name} {number or 'missing'}" for name, number in versions.items())
    found = f"penstock {_version('penstock')}, Python {platform.python_version()}, {found}"
    wanted = _wanted()
    wanted[_WITH_CELERY] = wanted.get("celery", "")
    if missing := [name for name, number in versions.items() if not number]:
        advice = f"Install {', '.join(name + wanted.get(name, '') for name in missing)}."
        return [Finding("software", State.FAIL, f"{found}.", advice)]
    if untried := [name for name, number in versions.items() if not within(number, wanted.get(name, ""))]:
        advice = f"Tried is {', '.join(name + wanted[name] for name in untried)}: install that."
        return [Finding("software", State.WARN, f"{found}.", advice)]
    return [Finding("software", State.OK, found)]


def within(number: str, wanted: str) -> bool:
    """Whether a version is in a range such as ``>=5.7,<5.8``."""
    compare = {
        ">=": lambda found, bound: found >= bound,
        "<": lambda found, bound: found < bound,
    }
    bounds = re.findall(r"(>=|<)\s*([\d.]+)", wanted)
    return all(compare[sign](_release(number), _release(bound)) for sign, bound in bounds)


def device_slots(settings: Settings) -> list[Finding]:
    """The slots that ``--devices`` gives."""
    names = {card.uuid: f"{card.name} {card.uuid}" for card in gpu.gpus()}
    slots = gpu.slots(settings.devices)
    text = "; ".join(f"{slot.name} ({names.get(slot.device, slot.device)}, {slot.threads} threads)" for slot in slots)
    return [Finding("devices", State.OK, text)]


def cores() -> list[Finding]:
    """The cores that a run may use, and those of the host."""
    return [Finding("cores", State.OK, f"{usable_cores()} of the host's {os.cpu_count()}")]


def number_format(settings: Settings, asked: Dtype) -> list[Finding]:
    """Whether torch works on the devices, what ``--dtype auto`` means there, and whether the asked one can be had."""
    slots = gpu.slots(settings.devices)
    auto = gpu.probe_dtype(slots, settings)
    on_gpu = slots[0].is_gpu
    if asked is Dtype.FLOAT16 and not on_gpu:
        raise SurroundingsError("A CPU does not compute float16.", "Use --dtype bfloat16 or float32.")
    if asked is Dtype.INT8 and on_gpu:
        raise SurroundingsError("int8 is computed on CPUs only.", "Use --dtype auto, or --devices cpu.")
    if asked is Dtype.BFLOAT16 and auto is not Dtype.BFLOAT16:
        what = "These GPUs do" if on_gpu else "This CPU does"
        slow = Finding("torch", State.WARN, f"{what} not have bfloat16 in hardware.", f"Use --dtype {auto}.")
        return [slow._replace(state=State.FAIL) if on_gpu else slow]
    return [Finding("torch", State.OK, f"works; --dtype auto is {auto}")]


def model_found(found: ModelRef) -> list[Finding]:
    """The checkpoint, its files checked and digested."""
    labels = f", labels {', '.join(found.labels)}" if found.labels else ""
    about = f"{found.model_type}, hidden size {found.hidden_size}, {found.token_limit} tokens{labels}"
    return [Finding("model", State.OK, f"{found.path} ({about}, digest {found.digest[:12]})")]


def find_model(model: str) -> ModelRef:
    """The checkpoint that was named. Raises InputError where it cannot be used."""
    return checkpoint.find(model_source(model))


def _wanted() -> dict[str, str]:
    """Package → the range that this distribution asks for."""
    found: dict[str, str] = {}
    try:
        lines = requires("penstock") or []
    except PackageNotFoundError:
        lines = []
    for line in lines:
        if (match := re.match(r"([\w-]+)([^;]*)", line)) and "extra ==" not in line:
            found[match[1]] = match[2].strip()
    return found


def _release(number: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", number.split("+")[0])[:3])


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
