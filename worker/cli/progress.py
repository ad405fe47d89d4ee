"""How a run gets on, on stderr: a bar at a terminal, a line now and then in a log, nothing for --json."""

from __future__ import annotations

import logging
import time
from collections import deque
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from pipelines.forecast import Work
from tasks.ledger import Counts

logger = logging.getLogger(__name__)
LOG_INTERVALS_S = (2.0, 5.0, 15.0)
"""Between lines of a log: soon at first, so that one sees that it moves, then seldom."""
RATE_WINDOW_S = 30.0
PACE_WINDOW_S = 60.0
PACE_MOMENTS = 500
"""Of a window, about how many moments are kept."""


class ProgressBar:
    """Documents per second, tokens per second and time left, from the ledger's counters. An Observer.

    The time left is that of the work that is left at the pace of late, where the work is known, else that of as many
    documents.
    """

    def __init__(self, *, quiet: bool, already: int = 0) -> None:
        console = Console(stderr=True)
        self.already = already
        self._bar: Progress | None = None
        if not quiet and console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[text]}"),
                TimeElapsedColumn(),
                console=console,
                transient=True,
            )
        self._task = self._bar.add_task("starting", total=None, text="") if self._bar else None
        self._quiet = quiet
        self._logged = time.monotonic()
        self._lines = 0
        self._inline_documents = self._inline_tokens = 0
        self._samples: deque[tuple[float, int, int]] = deque()
        self._pace = Pace()

    def __enter__(self) -> ProgressBar:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def part(self, documents: int, tokens: int, total: int | None, work: Work | None = None) -> None:
        """One more part of a run in this process; the other way to feed the bar."""
        self._inline_documents += documents
        self._inline_tokens += tokens
        counts = Counts("running", documents=self._inline_documents, tokens=self._inline_tokens)
        self.update(counts, self.already + self._inline_documents, total, work)

    def update(self, counts: Counts, planned: int, total: int | None, work: Work | None = None) -> None:
        """See :class:`worker.session.Observer`."""
        if self._quiet:
            return
        now = time.monotonic()
        self._samples.append((now, counts.documents, counts.tokens))
        while now - self._samples[0][0] > RATE_WINDOW_S:
            self._samples.popleft()
        then, documents, tokens = self._samples[0]
        # The window slides over parts: before two of them, the rate would be a guess.
        elapsed = now - then
        rate = (counts.documents - documents) / elapsed if elapsed > 1 else 0.0
        token_rate = (counts.tokens - tokens) / elapsed if elapsed > 1 else 0.0
        done = counts.documents + self.already
        if work is None and total is not None:
            work = Work(counts.documents, total - self.already)
        left_s = self._pace.left_s(now, work) if work is not None else None
        left = f", {_duration(left_s)} left" if left_s is not None else ""
        text = f"{done:,} of {f'{total:,}' if total is not None else f'{max(planned, done):,}+'} documents"
        if rate > 0:
            text += f", {rate:,.0f} documents/s, {token_rate:,.0f} tokens/s{left}"
        if self._bar and self._task is not None:
            self._bar.update(self._task, description="running", total=total, completed=done, text=text)
        elif now - self._logged >= LOG_INTERVALS_S[min(self._lines, len(LOG_INTERVALS_S) - 1)]:
            self._logged = now
            self._lines += 1
            logger.info("%s", text)


class Pace:
    """How fast work gets done: over the later half of the time since its first part was there, a minute at least.

    Parts come in lumps, so only moments count at which some were new.
    """

    def __init__(self) -> None:
        self._moments: deque[tuple[float, float]] = deque()
        self._began = 0.0

    def left_s(self, now: float, work: Work) -> float | None:
        """Seconds until all is done; None before a second part is there. ``now`` is a clock's time in seconds."""
        moments = self._moments
        if work.done > 0 and (not moments or work.done > moments[-1][1]):
            self._began = now if not moments else self._began
            if len(moments) > 1 and moments[-1][0] - moments[-2][0] < (now - self._began) / PACE_MOMENTS:
                moments.pop()  # the last one stands for those close before it
            moments.append((now, work.done))
            window_s = max(PACE_WINDOW_S, (now - self._began) / 2)
            while len(moments) > 2 and now - moments[1][0] > window_s:
                moments.popleft()
        if len(moments) < 2:
            return None
        (then, before), (last, done) = moments[0], moments[-1]
        return max(0.0, (work.total - done) * (last - then) / (done - before) - (now - last))


def _duration(seconds: float) -> str:
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"
