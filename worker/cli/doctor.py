"""``penstock doctor``: whether this machine can do what a run needs, one line each, with what to change."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import click

from pipelines.errors import PenstockError
from pipelines.parts.store import Store
from pipelines.roberta import checkpoint
from worker import address, gpu, logs
from worker.broker import EmbeddedRedis
from worker.cli.options import broker_option, devices_option, result_options
from worker.cli.output import emit, in_bytes
from worker.cores import usable_cores
from worker.settings import Settings, load

# The first release of each line without the remote code execution of CVE-2025-49844 ("RediShell"), from
# https://github.com/redis/redis/security/advisories/GHSA-4789-qfc9-5f9q and Valkey's release notes of the same day.
SAFE_RELEASES = {
    "redis": ((6, 2, 20), (7, 2, 11), (7, 4, 6), (8, 0, 4), (8, 2, 2)),
    "valkey": ((7, 2, 11), (8, 0, 6), (8, 1, 4)),
}
LOW_SPACE_BYTES = 2**30
NOT_READY = 3


class State(StrEnum):
    """How bad it is: a run works, a run works but somebody should act, a run fails."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Finding(NamedTuple):
    """One line of the report: what was looked at, what was found, what to do about it."""

    name: str
    state: State
    found: str
    advice: str = ""


@click.command(short_help="Say what this machine lacks for a run.")
@click.option("--out", type=click.Path(path_type=Path), default=None, help="The folder a run would write to.")
@click.option("--model", default=None, help="The checkpoint a run would use.")
@broker_option
@devices_option
@result_options
def doctor(
    out: Path | None, model: str | None, broker: str | None, devices: str | None, as_json: bool, debug: bool
) -> None:
    """Look at Redis, storage, devices and model, and say what to change. Exits 3 where a run would fail."""
    logs.configure(load(log_level="debug" if debug else "error"))  # what matters is in the findings
    settings = load(broker_url=broker, devices=devices)
    looks: list[tuple[str, Callable[[], Finding]]] = [
        ("software", software),
        ("redis", lambda: redis_in_use(settings)),
        ("devices", lambda: device_slots(settings)),
        ("cores", cores),
        ("torch", lambda: number_format(settings)),
        ("storage", lambda: storage(out or Path.cwd())),
        ("space", lambda: free_space(out or Path.cwd())),
    ]
    if model is not None:
        looks.append(("model", lambda: model_found(model)))
    findings = [examined(name, look) for name, look in looks]
    ready = all(finding.state is not State.FAIL for finding in findings)
    report = {"ready": ready, "findings": [finding._asdict() for finding in findings]}
    emit(report, "\n".join(map(line, findings)), as_json=as_json)
    if not ready:
        sys.exit(NOT_READY)


def examined(name: str, look: Callable[[], Finding]) -> Finding:
    """What a look found; an error that it raised is a failure with the error's own advice."""
    try:
        return look()
    except PenstockError as error:
        return Finding(name, State.FAIL, error.message, error.hint)


def line(finding: Finding) -> str:
    """A finding for a person."""
    return f"{finding.state:<5} {finding.name:<9} {finding.found} {finding.advice}".rstrip()


def software() -> Finding:
    """The versions that decide behaviour."""
    names = ("penstock", "celery", "redis", "torch", "transformers", "pyarrow")
    return Finding("software", State.OK, ", ".join(f"{name} {_version(name)}" for name in names))


def redis_in_use(settings: Settings) -> Finding:
    """The Redis of the settings, or the embedded one, started and stopped."""
    if settings.broker_url is not None:
        return judged(address.check(settings.broker_url), address.describe(settings.broker_url))
    with EmbeddedRedis(settings.embedded_redis_bytes) as server:
        info = address.check(server.url)
    # An old release is no danger there: nobody but this user's command can open its socket.
    return Finding("redis", State.OK, f"no --broker: the embedded {info.server} {info.version} starts and answers")


def judged(info: address.RedisInfo, place: str) -> Finding:
    """What to change on a Redis, the worst thing first."""
    found = f"{info.server} {info.version} at {place}"
    if info.maxmemory_policy != "noeviction":
        return Finding(
            "redis",
            State.FAIL,
            f"{found} drops keys when it is full (maxmemory-policy {info.maxmemory_policy or 'unknown'}).",
            "Set: CONFIG SET maxmemory-policy noeviction",
        )
    if not is_safe(info.server, info.version):
        return Finding(
            "redis", State.WARN, f"{found} has a known remote code execution.", "Update it (CVE-2025-49844)."
        )
    if info.maxmemory == 0:
        return Finding(
            "redis", State.WARN, f"{found} has no memory limit.", "Set: CONFIG SET maxmemory 1gb (or what it may use)"
        )
    if not info.append_only:
        return Finding(
            "redis", State.WARN, f"{found} forgets all when it restarts.", "Set: appendonly yes (costs time only)"
        )
    return Finding("redis", State.OK, f"{found}, {in_bytes(info.used_memory)} of {in_bytes(info.maxmemory)} used")


def is_safe(server: str, release: str) -> bool:
    """Whether a release has the fix of its line; lines that were begun after it have it from the start."""
    numbers = tuple(int(part) for part in release.split(".")[:3] if part.isdecimal())
    fixed = SAFE_RELEASES.get(server, ())
    same_line = [safe for safe in fixed if safe[:2] == numbers[:2]]
    return numbers >= (same_line[0] if same_line else max(fixed, default=(0,)))


def device_slots(settings: Settings) -> Finding:
    """The slots that ``--devices`` gives."""
    names = {card.uuid: f"{card.name} {card.uuid}" for card in gpu.gpus()}
    slots = gpu.slots(settings.devices)
    text = "; ".join(f"{slot.name} ({names.get(slot.device, slot.device)}, {slot.threads} threads)" for slot in slots)
    return Finding("devices", State.OK, text)


def cores() -> Finding:
    """The cores that a run may use, and those of the host."""
    return Finding("cores", State.OK, f"{usable_cores()} of the host's {os.cpu_count()}")


def number_format(settings: Settings) -> Finding:
    """Whether torch works on the devices, and the number format that ``--dtype auto`` means there."""
    return Finding(
        "torch", State.OK, f"works; --dtype auto is {gpu.probe_dtype(gpu.slots(settings.devices), settings)}"
    )


def storage(folder: Path) -> Finding:
    """Whether the folder can be written and refuses the second of two writers: what a commit rests on."""
    place = _existing(folder)
    try:
        with tempfile.TemporaryDirectory(prefix=".penstock-doctor-", dir=place) as scratch:
            kept = Store(Path(scratch)).probe_put_if_absent()
    except OSError as error:
        return Finding("storage", State.FAIL, f"{place} cannot be written: {error.strerror}.", "Choose another --out.")
    if not kept:
        return Finding(
            "storage",
            State.FAIL,
            f"{place} lets two writers write one name.",
            "Use a local disk or another file system.",
        )
    return Finding("storage", State.OK, f"{place} can be written, and only once by each name")


def free_space(folder: Path) -> Finding:
    """Free space where the rows go."""
    place = _existing(folder)
    free = shutil.disk_usage(place).free
    if free < LOW_SPACE_BYTES:
        return Finding(
            "space", State.WARN, f"{in_bytes(free)} free at {place}.", "100,000 vectors of 768 take about 300 MB."
        )
    return Finding("space", State.OK, f"{in_bytes(free)} free at {place}")


def model_found(model: str) -> Finding:
    """The checkpoint, its files checked and digested."""
    found = checkpoint.find(model)
    labels = f", labels {', '.join(found.labels)}" if found.labels else ""
    about = f"{found.model_type}, hidden size {found.hidden_size}, {found.token_limit} tokens{labels}"
    return Finding("model", State.OK, f"{found.path} ({about})")


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    place = folder.absolute()
    return next(parent for parent in (place, *place.parents) if parent.is_dir())


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"
