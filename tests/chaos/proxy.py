"""A TCP proxy in front of a Redis whose network can be cut, frozen, slowed and reset while the processes run."""

from __future__ import annotations

import contextlib
import random
import selectors
import socket
import struct
import threading
import time
from collections import deque
from types import TracebackType

CHUNK_BYTES = 65536
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER for no time: closing sends RST


class _Pipe:
    """One client's connection: bytes wait in both directions until they are due."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.ends = (client, server)
        self.waiting: tuple[deque[tuple[float, bytes]], ...] = (deque(), deque())  # by the end that they go to

    def close(self, *, reset: bool) -> None:
        for end in self.ends:
            with contextlib.suppress(OSError):
                if reset:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                end.close()


class Proxy:
    """Listens on a port of this machine and forwards to a unix socket. As a context it ends with everything open.

    ``frozen``: connections are accepted and stay open, nothing gets through, nobody is told (a half-open network).
    ``refusing``: nobody new gets in. ``delay_s``: from and to, for each piece. ``bytes_per_s``: 0 for as many as come.
    """

    def __init__(self, target: str, seed: int = 1) -> None:
        self.target = target
        self.frozen = False
        self.refusing = False
        self.delay_s = (0.0, 0.0)
        self.bytes_per_s = 0
        self.accepted = 0
        self._pipes: set[_Pipe] = set()
        self._abandoned: set[_Pipe] = set()
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._over = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.05)
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=loop, daemon=True) for loop in (self._accept, self._forward)]

    def __enter__(self) -> Proxy:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._over = True
        for thread in self._threads:
            thread.join()
        self._listener.close()
        self.reset()

    def reset(self) -> None:
        """End every connection by RST."""
        with self._lock:
            pipes, self._pipes = self._pipes | self._abandoned, set()
            self._abandoned = set()
        for pipe in pipes:
            pipe.close(reset=True)

    def abandon(self) -> None:
        """Nothing gets through the connections that there are, for ever, and nobody is told; new ones work."""
        with self._lock:
            self._abandoned |= self._pipes
            self._pipes = set()

    def heal(self) -> None:
        """No disturbance from now on. What was frozen gets through, as after a pause of the network."""
        self.frozen = self.refusing = False
        self.delay_s, self.bytes_per_s = (0.0, 0.0), 0

    def _accept(self) -> None:
        while not self._over:
            with contextlib.suppress(TimeoutError):
                client, _ = self._listener.accept()
                if self.refusing:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    client.close()
                    continue
                self.accepted += 1
                server = socket.socket(socket.AF_UNIX)
                try:
                    server.connect(self.target)
                except OSError:
                    client.close()
                    server.close()
                    continue
                with self._lock:
                    self._pipes.add(_Pipe(client, server))

    def _forward(self) -> None:
        while not self._over:
            with self._lock:
                pipes = list(self._pipes)
            if self.frozen or not pipes:
                time.sleep(0.01)
                continue
            for pipe in self._readable(pipes):
                self._read(pipe)
            for pipe in pipes:
                self._write(pipe)

    def _readable(self, pipes: list[_Pipe]) -> set[_Pipe]:
        with selectors.DefaultSelector() as selector:
            for pipe in pipes:
                for end in pipe.ends:
                    with contextlib.suppress(ValueError, OSError, KeyError):
                        selector.register(end, selectors.EVENT_READ, pipe)
            busy = any(waiting for pipe in pipes for waiting in pipe.waiting)
            return {key.data for key, _ in selector.select(0.005 if busy else 0.02)}

    def _read(self, pipe: _Pipe) -> None:
        for number, end in enumerate(pipe.ends):
            try:
                piece = end.recv(CHUNK_BYTES, socket.MSG_DONTWAIT)
            except BlockingIOError:
                continue
            except OSError:
                piece = b""
            if not piece:
                self._drop(pipe)
                return
            pipe.waiting[1 - number].append((time.monotonic() + self._random.uniform(*self.delay_s), piece))

    def _write(self, pipe: _Pipe) -> None:
        for end, waiting in zip(pipe.ends, pipe.waiting, strict=True):
            while waiting and waiting[0][0] <= time.monotonic():
                due, piece = waiting.popleft()
                most = self.bytes_per_s // 20 or len(piece)
                now, later = piece[:most], piece[most:]
                try:
                    end.sendall(now)
                except OSError:
                    self._drop(pipe)
                    return
                if later:
                    waiting.appendleft((max(due, time.monotonic()) + 0.05, later))

    def _drop(self, pipe: _Pipe) -> None:
        with self._lock:
            self._pipes.discard(pipe)
        pipe.close(reset=False)
