"""A process that loads everything once and then, for each line it is told, forks one that replays and is killed.

A line is a run's folder and a number: the replay gets a SIGKILL before its step of that number, a step being a change
that others can see: a link, a replacement, or the removal of a file. Instead of a number, *deadly* stands for a replay
whose process every text with the word *xyzzy* kills. The answer is the exit status of the fork.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from unit.poisoned import CRASH, poisoned

from pipelines.replay import replay
from pipelines.roberta.tokenizer import Tokenizer
from tasks.runs import load_run


def killed_before(step: int, function: Callable[..., Any], taken: list[str]) -> Callable[..., Any]:
    def call(*arguments: Any, **options: Any) -> Any:
        if function is not os_unlink or os.path.lexists(arguments[0]):
            if len(taken) == step:
                os.kill(os.getpid(), signal.SIGKILL)
            taken.append(str(arguments[-1]))
        return function(*arguments, **options)

    return call


def replay_until(folder: Path, step: int) -> None:
    taken: list[str] = []
    for name in ("link", "replace", "unlink"):
        setattr(os, name, killed_before(step, getattr(os, name), taken))
    with poisoned(CRASH):
        replay(*load_run(folder))


def replay_what_kills(folder: Path) -> None:
    encode = Tokenizer.encode

    def deadly(self: Tokenizer, texts: list[str], *arguments: Any) -> Any:
        if any("xyzzy" in text for text in texts):
            os.kill(os.getpid(), signal.SIGKILL)
        return encode(self, texts, *arguments)

    Tokenizer.encode = deadly  # type: ignore[assignment,method-assign]  # replaced on purpose
    replay(*load_run(folder))


os_unlink = os.unlink
if __name__ == "__main__":
    torch.set_num_threads(1)
    for line in sys.stdin:
        folder, _, step = line.rstrip().rpartition(" ")
        child = os.fork()
        if child == 0:
            if step == "deadly":
                replay_what_kills(Path(folder))
            else:
                replay_until(Path(folder), int(step))
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
