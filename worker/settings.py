"""One tree of settings, what changes speed and place only: flag > ``PENSTOCK_…`` > ``penstock.toml`` > default.

The only file of the three packages that reads the environment. What changes results is in the spec of a run instead.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import Field, PrivateAttr, ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from pipelines.errors import UsageError
from pipelines.roberta.names import MODELS

ENV_PREFIX = "PENSTOCK_"
FILE_NAME = "penstock.toml"
MIN_WINDOW = 64
"""Batches in flight at the least; more devices get eight each (so that one slow batch starves nobody)."""

PositiveInt = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class LogFormat(StrEnum):
    """How a log record is written: for a person, or one JSON object per line."""

    CONSOLE = "console"
    JSON = "json"


class LogLevel(StrEnum):
    """The least important records that are still written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Settings(BaseSettings):
    """Where and how fast a command works; never what it computes. Frozen; made by :func:`load`."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_ignore_empty=True, frozen=True, extra="forbid", hide_input_in_errors=True
    )

    broker_url: str | None = Field(None, repr=False, description="Redis to use; without one, `run` brings its own")
    devices: str = Field("auto", description="auto, cpu, cpu:N, or GPUs by index or UUID, separated by commas")
    token_budget: PositiveInt | None = Field(None, description="tokens in one forward pass; without one, measured")
    once: bool = Field(False, description="compute equal texts once (true) or each time they come")
    window: PositiveInt | None = Field(None, description="batches in flight; without one, max(64, 8 per device)")
    window_bytes: PositiveInt = Field(256 * 2**20, description="bytes of batch bodies in flight")
    lease_s: Seconds = Field(75.0, description="seconds without progress after which a batch goes to another worker")
    hang_limit_s: Seconds = Field(60.0, description="seconds that one micro-batch has at least, before it is a hang")
    max_attempts: PositiveInt = Field(5, description="claimed deliveries after which a batch is a dead letter")
    reconcile_interval_s: Seconds = Field(2.0, description="seconds between two looks for batches that got lost")
    model_cache_bytes: PositiveInt = Field(8 * 2**30, description="bytes of model weights that a worker keeps loaded")
    models_dir: Path | None = Field(
        None, description="folder of your models by name; without one, penstock/models in your data folder"
    )
    proof_documents: int = Field(8, ge=0, description="documents that are proved before a run is sealed, 0 for none")
    proof_timeout_s: Seconds = Field(900.0, description="seconds that a run that is done waits for its proof")
    log_level: LogLevel = Field(LogLevel.INFO, description="debug, info, warning or error")
    log_format: LogFormat = Field(LogFormat.CONSOLE, description="console or json (one object per line)")
    embedded_redis_bytes: PositiveInt = Field(2**30, description="maxmemory of the Redis that `run` brings along")
    redis_maxmemory_fraction: float = Field(
        0.6, gt=0, le=0.9, description="part of Redis' maxmemory above which nothing more is published"
    )
    redis_timeout_s: float = Field(
        15.0, ge=2, allow_inf_nan=False, description="seconds, 2 or more, to wait for an answer of Redis"
    )
    visibility_timeout_s: PositiveInt = Field(1800, description="seconds until Celery delivers a message again")
    soft_shutdown_timeout_s: Seconds = Field(30.0, description="seconds that a stopping worker has for its batch")
    include: str = Field("", description="modules that worker processes import besides their own, by commas")
    process_start_timeout_s: Seconds = Field(300.0, description="seconds that a worker process has to start")

    _origins: dict[str, str] = PrivateAttr(default_factory=dict)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # load() merges the layers itself: it must know which one each value came from.
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)

    def window_batches(self, slots: int) -> int:
        """Batches allowed in flight for so many slots."""
        return self.window or max(MIN_WINDOW, 8 * slots)


class Sourced(NamedTuple):
    """A value, ready to print, and where it came from: ``flag``, ``env PENSTOCK_…``, a file's path or ``default``."""

    value: Any
    source: str


def load(**flags: Any) -> Settings:
    """The settings in force. A flag that is None was not given. Raises UsageError for an unknown key or a bad value."""
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for path in reversed(_files()):
        layer = _read(path)
        values |= layer
        origins |= dict.fromkeys(layer, str(path))
    environment = EnvSettingsSource(Settings)()
    values |= environment
    origins |= {key: f"env {ENV_PREFIX}{key.upper()}" for key in environment}
    given = {key: value for key, value in flags.items() if value is not None}
    values |= given
    origins |= dict.fromkeys(given, "flag")
    try:
        settings = Settings(**values)
    except ValidationError as error:
        raise _usage_error(error, origins) from None
    settings._origins = origins
    return settings


def sources(settings: Settings) -> dict[str, Sourced]:
    """Every setting with its source, passwords hidden; for `config show`."""
    return {
        key: Sourced(
            redacted_address(value) if isinstance(value, str) else value, settings._origins.get(key, "default")
        )
        for key, value in settings.model_dump(mode="json").items()
    }


def environment_for_child(settings: Settings, slot: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a child process: this one's, the settings as ``PENSTOCK_…``, and what its slot pins."""
    settings_keys = {ENV_PREFIX + key.upper() for key in Settings.model_fields}
    environment = {key: value for key, value in os.environ.items() if key.upper() not in settings_keys}
    for key, value in settings.model_dump(mode="json").items():
        if value is not None:
            environment[ENV_PREFIX + key.upper()] = str(value)
    return environment | dict(slot or {})


def forget_celery_variables() -> None:
    """Remove ``CELERY_…`` from this process's environment.

    Celery prefers them to what it is told: another application's ``CELERY_BROKER_URL`` would get our batches.
    """
    for key in [key for key in os.environ if key.startswith("CELERY_")]:
        del os.environ[key]


def pin_this_process(environment: Mapping[str, str]) -> None:
    """Take over a slot's environment in this very process; before torch is loaded."""
    os.environ.update(environment)


def cuda_visible_devices() -> str | None:
    """What the surroundings (a cluster's scheduler) allow this process to see, as CUDA writes it; None: everything."""
    return os.environ.get("CUDA_VISIBLE_DEVICES")


def thread_limit() -> int | None:
    """The threads per process that the surroundings ask for by ``OMP_NUM_THREADS``; None: no wish."""
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(first) if first.isdecimal() and int(first) > 0 else None


class SlotIdentity(NamedTuple):
    """Who a pinned worker process is: its slot, device (``cpu`` or a GPU's UUID), threads, and name in the ledger.

    ``breadcrumb`` is the file in which its child notes what it has in hand.
    """

    slot: str
    device: str
    threads: int
    owner: str
    breadcrumb: str


def slot_environment(identity: SlotIdentity) -> dict[str, str]:
    """How a supervisor tells a worker process who it is; :func:`slot_identity` reads it there."""
    return {f"{ENV_PREFIX}SLOT_{key.upper()}": str(value) for key, value in identity._asdict().items()}


def slot_identity() -> SlotIdentity:
    """Who this worker process is. Raises KeyError in a process that no supervisor started."""
    values = {key: os.environ[f"{ENV_PREFIX}SLOT_{key.upper()}"] for key in SlotIdentity._fields}
    return SlotIdentity(values["slot"], values["device"], int(values["threads"]), values["owner"], values["breadcrumb"])


def models_folder(settings: Settings) -> Path:
    """Where a user's models are, each in a folder of its name."""
    data = os.environ.get("XDG_DATA_HOME")
    there = Path(data) / "penstock" / "models" if data else Path(MODELS)
    return (settings.models_dir or there).expanduser().absolute()


def state_folder() -> Path:
    """Where this user's runs are remembered for `status`."""
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return Path(state) / "penstock"


def redacted_address(url: str) -> str:
    """An address without its password, whatever characters that has."""
    return redacted(_UP_TO_THE_LAST_AT.sub(r"\1***\2", url))


def redacted(text: str) -> str:
    """A text with the password of every URL in it replaced by ``***``."""
    return _PASSWORD_ASKED.sub(r"\1***", _PASSWORD.sub(r"\1***\2", text))


# Greedy up to the last @ before a blank or quote: a password that was not percent-encoded may hold @ and / itself.
_PASSWORD = re.compile(r"(://[^\s/:@'\"]*:)[^\s'\"]*(@)")
_UP_TO_THE_LAST_AT = re.compile(r"^([^:/]*://[^/:@]*:).*(@)", re.DOTALL)
_PASSWORD_ASKED = re.compile(r"([?&](?:ssl_)?password=)[^\s'\"&#]*")
"""redis-py takes it from there, too."""


def _files() -> list[Path]:
    """The settings files there are, most important first."""
    config = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    places = [Path.cwd() / FILE_NAME, Path(config) / "penstock" / FILE_NAME]
    return [path for path in places if path.is_file()]


def _read(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path} cannot be read as TOML: {error}.", "Correct the file or remove it.") from None
    for key in values:
        if key not in Settings.model_fields:
            raise UsageError(
                f"{path} has the unknown key {key!r}.", f"Known: {', '.join(sorted(Settings.model_fields))}."
            )
    return values


def _usage_error(error: ValidationError, origins: Mapping[str, str]) -> UsageError:
    """The first problem as one line that names the key and the place it was written in."""
    first = error.errors(include_url=False, include_input=False)[0]
    key = str(first["loc"][0]) if first["loc"] else "settings"
    field = Settings.model_fields.get(key)
    wanted = f"Wanted: {field.description}." if field is not None and field.description else ""
    return UsageError(f"{origins.get(key, 'default')}: {key} is not valid: {first['msg']}.", wanted)
