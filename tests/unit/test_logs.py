"""Log records: both formats, the context of threads and processes, and no password anywhere."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from worker import logs
from worker.settings import load

SECRET = "open/sesame@1001"
ADDRESS = f"redis://:{quote(SECRET, safe='')}@host:6379/0"


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


def _configured(log_format: str, **flags: object) -> io.StringIO:
    stream = io.StringIO()
    logs.configure(load(log_format=log_format, **flags), stream)
    return stream


def test_a_json_record_is_one_object_with_its_context() -> None:
    stream = _configured("json")
    with logs.bind(run="r1", batch=7, device=None):
        logging.getLogger("penstock.test").warning("line one\nline two: %d", 5)
    (line,) = stream.getvalue().splitlines()
    record = json.loads(line)
    assert record["message"] == "line one\nline two: 5"
    assert (record["run"], record["batch"], record["level"], record["logger"]) == (
        "r1",
        "7",
        "warning",
        "penstock.test",
    )
    assert "device" not in record
    assert record["time"].endswith("+00:00")


def test_the_console_shows_context_and_only_unusual_levels() -> None:
    stream = _configured("console")
    with logs.bind(run="r1"), logs.bind(batch=7):
        logging.getLogger("x").info("fine")
        logging.getLogger("x").error("bad")
    logging.getLogger("x").info("after")
    fine, bad, after = stream.getvalue().splitlines()
    assert fine[9:] == "fine [run=r1 batch=7]"
    assert bad[9:] == "ERROR bad [run=r1 batch=7]"
    assert after[9:] == "after"


def test_a_thread_has_its_own_context() -> None:
    stream = _configured("json")

    def work() -> None:
        with logs.bind(batch=2):
            logging.getLogger("x").info("in the thread")

    with logs.bind(batch=1):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        logging.getLogger("x").info("outside")
    assert [json.loads(line)["batch"] for line in stream.getvalue().splitlines()] == ["2", "1"]


def test_a_process_s_context_is_in_every_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_process_context", {})
    stream = _configured("json")
    logs.bind_process(slot="cpu:0", device="cpu")
    logging.getLogger("x").info("y")
    record = json.loads(stream.getvalue())
    assert (record["slot"], record["device"]) == ("cpu:0", "cpu")


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_the_password_is_in_no_message_argument_or_traceback(log_format: str) -> None:
    stream = _configured(log_format, broker_url=ADDRESS)
    logs.hide(SECRET)
    log = logging.getLogger("x")
    log.info("connected to %s", ADDRESS)
    log.info("the password alone: %s", SECRET)
    with logs.bind(run=SECRET):
        log.info("in the context")
    try:
        raise ConnectionError(f"{ADDRESS} said no to {SECRET}")
    except ConnectionError:
        log.exception("failed", extra={"device": SECRET})
    log.info("elsewhere: redis://me:never-seen-before@other/0")
    assert SECRET not in stream.getvalue()
    assert quote(SECRET, safe="") not in stream.getvalue()
    assert "never-seen-before" not in stream.getvalue()
    assert "ConnectionError" in stream.getvalue()
    assert "host:6379" in stream.getvalue()


def test_configuring_twice_writes_once() -> None:
    _configured("console")
    stream = _configured("console")
    logging.getLogger("x").info("once")
    assert len(stream.getvalue().splitlines()) == 1


def test_the_level_is_the_settings() -> None:
    stream = _configured("console", log_level="warning")
    logging.getLogger("x").info("no")
    logging.getLogger("kombu").info("no")
    logging.getLogger("x").warning("yes")
    assert len(stream.getvalue().splitlines()) == 1


CELERY = """
import logging, sys
from celery import Celery
from worker import logs
from worker.settings import load
logs.configure(load(log_format="json"))
app = Celery("x", broker="memory://")
before = list(logging.getLogger().handlers)
app.log.setup(loglevel="DEBUG", redirect_stdouts=True)
assert logging.getLogger().handlers == before, logging.getLogger().handlers
assert sys.stdout is sys.__stdout__
logging.getLogger("celery.worker").error("still ours")
"""


def test_celery_does_not_replace_it() -> None:
    answer = subprocess.run([sys.executable, "-c", CELERY], capture_output=True, text=True, check=True)
    assert json.loads(answer.stderr)["message"] == "still ours"


def test_what_others_say_takes_one_line() -> None:
    """Celery writes whole tracebacks where a connection is lost; ours are kept, theirs only at debug."""
    stream = _configured("console")
    try:
        raise ConnectionError("gone\nfor good")
    except ConnectionError:
        for name in ("celery.worker", "kombu", "py.warnings", "multiprocessing"):
            logging.getLogger(name).warning("Lost by\n%s…", name, exc_info=True)
        logging.getLogger("tasks.extract").warning("ours", exc_info=True)
    *others, first, _, _, _, _, _ = stream.getvalue().splitlines()
    said = [line.partition(" WARNING ")[2] for line in others]
    assert said[0] == "Lost by celery.worker… (ConnectionError: for good)"
    assert len(said) == 4
    assert first.endswith("WARNING ours")
    logging.getLogger("celery.worker").warning("Lost.\nTrying again…")
    logging.getLogger("celery.worker").warning("Lost.\nTrying again…")
    assert stream.getvalue().count("\n") == 11, "the same words of others come once a minute"
    stream = _configured("console", log_level="debug")
    try:
        raise ConnectionError("gone")
    except ConnectionError:
        logging.getLogger("celery.worker").warning("Lost.", exc_info=True)
    assert "Traceback" in stream.getvalue()


@pytest.mark.parametrize(("level", "shown"), [("info", False), ("debug", True)])
def test_a_library_that_was_not_imported_to_its_end_is_quiet(level: str, shown: bool) -> None:
    """An interrupt may fall into the import of torch, which then logs at exit with nothing set up."""
    script = f"""
import atexit, logging
from worker import logs
from worker.settings import load
logs.configure(load(log_level="{level}"))
atexit.register(logging.getLogger("torch._dynamo.utils").info, "compilation metrics")
raise SystemExit(130)
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ended.returncode == 130
    assert ("compilation metrics" in ended.stderr) is shown
