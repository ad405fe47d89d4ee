"""How a run gets on, on stderr: a bar at a terminal, a line now and then in a log, nothing for --json."""

from __future__ import annotations

import logging
import time
from collections import deque
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from tasks.ledger import Counts

logger = logging.getLogger(__name__)
LOG_INTERVALS_S = (2.0, 5.0, 15.0)
"""Between lines of a log: soon at first, so that one sees that it moves, then seldom."""
RATE_WINDOW_S = 30.0


class ProgressBar:
    """Documents per second, tokens per second and time left, from the ledger's counters. An Observer."""

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

    def __enter__(self) -> ProgressBar:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def part(self, documents: int, tokens: int, total: int | None) -> None:
        """One more part of a run in this process; the other way to feed the bar."""
        self._inline_documents += documents
        self._inline_tokens += tokens
        counts = Counts("running", documents=self._inline_documents, tokens=self._inline_tokens)
        self.update(counts, self.already + self._inline_documents, total)

    def update(self, counts: Counts, planned: int, total: int | None) -> None:
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
        left = f", {_duration((total - done) / rate)} left" if total and rate > 0 else ""
        text = f"{done:,} of {f'{total:,}' if total is not None else f'{max(planned, done):,}+'} documents"
        if rate > 0:
            text += f", {rate:,.0f} documents/s, {token_rate:,.0f} tokens/s{left}"
        if self._bar and self._task is not None:
            self._bar.update(self._task, description="running", total=total, completed=done, text=text)
        elif now - self._logged >= LOG_INTERVALS_S[min(self._lines, len(LOG_INTERVALS_S) - 1)]:
            self._logged = now
            self._lines += 1
            logger.info("%s", text)


def _duration(seconds: float) -> str:
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"
