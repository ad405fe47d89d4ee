"""Processes that take turns: each is a thread that goes as many steps as it is allowed, and can be killed between two.

A step is a call that leaves the process: a command to Redis, a system call that changes the disk, a look at the disk.
Only one thread runs at a time, so a test that draws whose turn it is can draw any interleaving, and repeat it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import redis

T = TypeVar("T")
_here = threading.local()
ENDLESS = 20_000
"""More steps than anything in this model may take."""


class KilledError(BaseException):
    """The process ended here. Nothing that it still does (``finally``, ``except``) reaches the outside."""


class Actor:
    """One process. ``at`` is the step before which it stands."""

    def __init__(self, name: str, body: Callable[[], object]) -> None:
        self.name = name
        self.at = "its start"
        self.steps = 0
        self.doom: type[BaseException] | None = None
        self.hands: Any = None
        self.error: BaseException | None = None
        self.faults: list[str] = []
        self._body = body
        self._allowed = 0
        self._until = ""
        self._go, self._parked = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._live, name=name, daemon=True)
        self._ended = False
        self._thread.start()

    @property
    def alive(self) -> bool:
        return not self._ended

    def go(self, steps: int, *, until: str = "") -> None:
        """Let it go so many steps, before one that begins so, or to its end. What it raised is raised here."""
        if self._ended:
            return
        self._allowed, self._until = steps, until
        self._turn()

    def kill(self) -> None:
        """SIGKILL."""
        if not self._ended:
            self.doom = KilledError
            self._turn()

    def rest(self) -> None:
        """Called by the process: its turn is over, whatever it was allowed."""
        self._allowed = 0

    def step(self, what: str) -> None:
        """Called by the process before each step. A process that is doomed does not get out of it."""
        if self.doom is None:
            self.at = what
            if self._until and what.startswith(self._until):
                self._allowed = 0
        while self.doom is None and self._allowed == 0:
            self._parked.release()
            self._go.acquire()
        if self.doom is not None:
            raise self.doom
        self._allowed -= 1
        self.steps += 1

    def takes(self, *faults: str) -> str:
        """The fault that waits for the process, if it is one of these; it strikes once."""
        if self.faults and self.faults[0] in faults:
            return self.faults.pop(0)
        return ""

    def _turn(self) -> None:
        self._go.release()
        self._parked.acquire()
        if self.error is not None:
            error, self.error = self.error, None
            raise error

    def _live(self) -> None:
        _here.actor = self
        self._go.acquire()
        try:
            if self.doom is None:
                self._body()
        except KilledError:
            pass
        except BaseException as error:
            self.error = error
        finally:
            self._ended = True
            self._parked.release()


def actor() -> Actor | None:
    """The process that runs now; None for the test itself."""
    return getattr(_here, "actor", None)


class SteppedRedis(redis.Redis):
    """A client whose every command is a step, and whose server's clock is the model's.

    Faults: ``lost`` (the command never arrives), ``unanswered`` (it is done, the reply is lost), ``repeated`` (redis-py
    sent it again after a lost reply).
    """

    now: Callable[[], float]
    watch: Callable[[tuple[Any, ...], Any], None] = staticmethod(lambda *_: None)

    def execute_command(self, *arguments: Any, **options: Any) -> Any:
        who = actor()
        if who is None:
            return self._do(*arguments, **options)
        words = arguments[3 + arguments[2] :] if arguments[0] == "EVALSHA" else arguments[1:]
        who.step(f"redis {arguments[0]} {words[:2]}")
        fault = who.takes("lost", "unanswered", "repeated")
        if fault == "lost":
            raise redis.ConnectionError("lost on the way")
        answer = self._do(*arguments, **options)
        if fault == "repeated":
            answer = self._do(*arguments, **options)
        if fault == "unanswered":
            raise redis.ConnectionError("the reply was lost")
        return answer

    def _do(self, *arguments: Any, **options: Any) -> Any:
        if arguments[0] == "TIME":
            return int(self.now()), 0
        answer = super().execute_command(*arguments, **options)
        self.watch(arguments, answer)
        return answer

    def pipeline(self, *arguments: Any, **options: Any) -> Any:
        who = actor()
        if who is not None:
            who.step("redis MULTI")
        return super().pipeline(*arguments, **options)


def stepped(what: str, real: Callable[..., T]) -> Callable[..., T]:
    """A function (its first argument says on what it works) that is a step where a process calls it."""

    def call(*arguments: Any, **options: Any) -> T:
        who = actor()
        if who is not None:
            who.step(f"{what} {arguments[-1]}")
        return real(*arguments, **options)

    return call
