"""A Redis that a test may kill, starve and start again from any thread, at the same address."""

from __future__ import annotations

import contextlib
import resource
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import redis

from worker.broker import find_server

PASSWORD = "open-sesame"
NO_LIMIT = resource.RLIM_INFINITY


class Server:
    """On a socket in a folder of its own. ``append_only``: what it holds survives a kill."""

    def __init__(self, *, append_only: bool = True, maxmemory_bytes: int = 64 * 2**20) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="redis-"))
        self.socket = self.folder / "redis.sock"
        self.append_only, self.maxmemory_bytes = append_only, maxmemory_bytes
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def client_url(self) -> str:
        return f"unix://:{PASSWORD}@{self.socket}?db=0"

    @property
    def celery_url(self) -> str:
        return f"redis+socket://:{PASSWORD}@{self.socket}?virtual_host=0"

    def start(self) -> Server:
        binary = find_server()
        assert binary is not None
        self.socket.unlink(missing_ok=True)
        options = {
            "port": 0, "unixsocket": self.socket, "requirepass": PASSWORD, "masterauth": PASSWORD, "dir": self.folder,
            "maxmemory": self.maxmemory_bytes, "maxmemory-policy": "noeviction", "save": '""',
            "appendonly": "yes" if self.append_only else "no", "logfile": "redis.log",
        }  # fmt: skip
        self._process = subprocess.Popen(
            [str(binary), *(str(word) for key, value in options.items() for word in (f"--{key}", value))],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            restore_signals=False,  # a file at its size limit is an error for it then, not a signal that ends it
        )
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with contextlib.suppress(redis.RedisError), redis.Redis.from_url(self.client_url) as client:
                client.ping()
                return self
            time.sleep(0.02)
        raise AssertionError((self.folder / "redis.log").read_text())

    def kill(self) -> None:
        """SIGKILL, as the kernel would when memory runs out."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def wait(self) -> None:
        """Until it has ended by itself."""
        assert self._process is not None
        self._process.wait(timeout=60)

    def limit_files(self, limit_bytes: int) -> None:
        """Let its files grow no larger than that: what a full disk is to it."""
        assert self._process is not None
        resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (limit_bytes, NO_LIMIT))

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
