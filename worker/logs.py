"""Log records for a person or one JSON object per line, each with its run, batch, device and slot, and no password."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, TextIO
from urllib.parse import quote, urlsplit

from celery.signals import setup_logging

from worker.address import password
from worker.settings import LogFormat, Settings, redacted

CONTEXT_KEYS = ("run", "batch", "device", "slot")
_NOISY = (
    "kombu",
    "celery",
    "amqp",
    "urllib3",
    "httpx",
    "filelock",
    "asyncio",
    "huggingface_hub",
    "transformers",
    "multiprocessing",
    "torch",  # it sets up its own at the end of its import; where that was cut, it says at exit what it compiled
)
_REPEAT_AFTER_S = 60.0
_REMEMBERED_MESSAGES = 100
_MIN_SECRET_CHARACTERS = 6
"""A shorter value would be hidden in words that only happen to contain it."""

_context: ContextVar[Mapping[str, str]] = ContextVar("penstock_log_context", default={})  # noqa: B039 (never changed)
_process_context: dict[str, str] = {}
_secrets: set[str] = set()


@contextlib.contextmanager
def bind(**context: object) -> Iterator[None]:
    """Add fields (``run=…, batch=…``) to every record of this thread while it lasts; None: no field."""
    given = {key: str(value) for key, value in context.items() if value is not None}
    token = _context.set({**_context.get(), **given})
    try:
        yield
    finally:
        _context.reset(token)


def bind_process(**context: object) -> None:
    """Add fields to every record of this process, all threads included: its ``device`` and ``slot``."""
    _process_context.update({key: str(value) for key, value in context.items() if value is not None})


def hide(secret: str | None) -> None:
    """Never write this value, as it is or percent-encoded."""
    if secret and len(secret) >= _MIN_SECRET_CHARACTERS:
        _secrets.update((secret, quote(secret, safe="")))


def configure(settings: Settings, stream: TextIO | None = None) -> None:
    """Send all records of this process to a stream (stderr), in the settings' format and level. May be called again."""
    if settings.broker_url:
        hide(urlsplit(settings.broker_url).password)  # as it is written in the address
        hide(password(settings.broker_url))
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.addFilter(_Patience().first_time)
    handler.addFilter(_add_context)
    handler.setFormatter(JsonFormatter() if settings.log_format is LogFormat.JSON else ConsoleFormatter())
    root = logging.getLogger()
    for old in [handler for handler in root.handlers if getattr(handler, "penstock", False)]:
        root.removeHandler(old)
    handler.penstock = True  # type: ignore[attr-defined]  # a mark of ours
    root.addHandler(handler)
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    root.setLevel(level)
    for name in _NOISY:  # what they say at INFO is about themselves
        logging.getLogger(name).setLevel(max(level, logging.WARNING) if level > logging.DEBUG else logging.INFO)
    logging.captureWarnings(True)
    setup_logging.connect(leave_logging_alone, weak=False)


class ConsoleFormatter(logging.Formatter):
    """``12:34:56 WARNING message [run=… batch=…]``; the level only where it is not INFO."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created).strftime("%H:%M:%S")
        level = "" if record.levelno == logging.INFO else f"{record.levelname} "
        context = " ".join(f"{key}={value}" for key, value in _context_of(record).items())
        lines = [f"{time} {level}{_message(record)}" + (f" [{context}]" if context else "")]
        if trace := _traceback(self, record):
            lines.append(trace)
        return clean("\n".join(lines))


class JsonFormatter(logging.Formatter):
    """One JSON object per record: time (UTC), level, logger, message, process, the context, exception."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": clean(_message(record)),
            "process": record.process,
        }
        fields |= {key: clean(value) for key, value in _context_of(record).items()}
        if trace := _traceback(self, record):
            fields["exception"] = clean(trace)
        return json.dumps(fields, ensure_ascii=False)


def clean(text: str) -> str:
    """A text without the passwords of URLs and without any value given to :func:`hide`."""
    text = redacted(text)
    for secret in sorted(_secrets, key=len, reverse=True):  # one may be the beginning of another
        text = text.replace(secret, "***")
    return text


class _Patience:
    """Lets through what others say once a minute: at a full Redis, Celery says the same five times a second."""

    def __init__(self) -> None:
        self._said: dict[str, float] = {}

    def first_time(self, record: logging.LogRecord) -> bool:
        if not _in_short(record):
            return True
        message = _message(record)
        if record.created - self._said.get(message, -_REPEAT_AFTER_S) < _REPEAT_AFTER_S:
            return False
        if len(self._said) >= _REMEMBERED_MESSAGES:
            self._said.clear()
        self._said[message] = record.created
        return True


def _add_context(record: logging.LogRecord) -> bool:
    record.penstock_context = {**_process_context, **_context.get()}
    return True


def _context_of(record: logging.LogRecord) -> dict[str, str]:
    context: dict[str, str] = dict(getattr(record, "penstock_context", {}))
    return context | {key: str(value) for key in CONTEXT_KEYS if (value := getattr(record, key, None)) is not None}


def _in_short(record: logging.LogRecord) -> bool:
    """Whether what others say is cut to a line: where a connection is lost, Celery and kombu say it in a hundred."""
    noisy = record.name.partition(".")[0] in (*_NOISY, "py", "multiprocessing")
    return noisy and not logging.getLogger().isEnabledFor(logging.DEBUG)


def _message(record: logging.LogRecord) -> str:
    if not _in_short(record):
        return record.getMessage()
    message = " ".join(record.getMessage().split())
    error = record.exc_info[1] if record.exc_info else None
    if error is None or str(error) in message:
        return message
    said = [line for line in str(error).splitlines() if line.strip(' "')]  # a traceback ends with it
    return f"{message} ({type(error).__name__}: {said[-1].strip() if said else ''})"


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    if _in_short(record):
        return ""
    parts = [formatter.formatException(record.exc_info)] if record.exc_info and record.exc_info[0] else []
    if record.stack_info:
        parts.append(formatter.formatStack(record.stack_info))
    return "\n".join(parts)


def leave_logging_alone(**_: Any) -> None:
    """Celery sets up logging of its own, replacing ours, unless somebody listens to this signal."""
