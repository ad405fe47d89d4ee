"""A replay that is killed at any step of its way goes on when it is called again, and nothing is done twice."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from chaos.disturbance import rows
from unit.poisoned import ALL, BROKEN, CRASH, MEMORY, PLUGH, XYZZY, poisoned, poisoned_run, write_corpus

from pipelines.documents import Reason, Stage
from pipelines.inline import run_inline
from pipelines.parts.listing import load_summary
from pipelines.parts.quarantine import read_run
from pipelines.parts.store import Store
from pipelines.parts.verify import verify
from pipelines.replay import replay
from tasks.runs import load_run, status

Kill = Callable[[Path, int | str], int]
MOST_STEPS = 60
MOST_DEATHS = 10


@pytest.fixture
def replay_and_kill() -> Iterator[Kill]:
    """``replay_and_kill(folder, step)``: the exit code of a replay that was killed before a step; 0 if it got by.

    With the step *deadly* its documents kill it.
    """
    tests = Path(__file__).resolve().parents[1]
    places = os.pathsep.join(filter(None, [str(tests), os.environ.get("PYTHONPATH")]))
    killer = subprocess.Popen(
        [sys.executable, tests / "chaos" / "replay_killer.py"],
        env=os.environ | {"PYTHONPATH": places, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert killer.stdin is not None
    assert killer.stdout is not None
    to_killer, from_killer = killer.stdin, killer.stdout

    def kill(folder: Path, step: int | str) -> int:
        to_killer.write(f"{folder} {step}\n")
        to_killer.flush()
        return int(from_killer.readline())

    with killer:
        yield kill
        to_killer.close()


@pytest.mark.slow
def test_killed_at_every_step_it_goes_on(replay_and_kill: Kill, tiny_model: Path, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus.jsonl")
    template = poisoned_run(tmp_path / "template", corpus, tiny_model, CRASH, MEMORY)[0]
    expected = poisoned_run(tmp_path / "expected", corpus, tiny_model, CRASH)[0]
    wanted = rows(expected.root).drop(["embedding"])
    states, over = [], []
    for step in range(MOST_STEPS):
        out = shutil.copytree(template.root, tmp_path / f"out-{step}")
        code = replay_and_kill(out, step)
        store, document = load_run(out)
        ids = rows(out).column("id").to_pylist()
        evidence = [reject.id for _, reject in read_run(store) if reject.reason is not Reason.KEPT_VALUE]
        assert len(ids) + len(evidence) == 60  # whenever it is killed, every document is somewhere, once
        if code == 0:
            break
        assert code == -signal.SIGKILL
        stands = status(store, document, None)
        states.append(stands.state)
        if stands.state == "sealed":
            assert verify(store) == []
        else:
            assert stands.replay
            assert any("a replay of the quarantine was interrupted" in line for line in verify(store))
        other = Store(shutil.copytree(out, tmp_path / f"other-{step}"))
        assert run_inline(other, document, limit=ALL).state == "sealed"
        assert verify(other) == []
        sealed = load_summary(store)
        done = sealed is not None and sealed.generation == 2 and not store.exists("_replay.json")
        if not done:  # else all is said and done, and what is called again is the next replay
            with poisoned(CRASH):
                replay(store, document)
        over.append(done)
        assert verify(store) == []
        assert rows(out).drop(["embedding"]).equals(wanted)
        attempts = [reject.attempts for _, reject in read_run(store) if reject.reason is Reason.CRASH]
        assert attempts == [1] * len(PLUGH), step
        summary = load_summary(store)
        assert summary is not None
        assert (summary.quarantined, summary.generation) == (len(PLUGH) + len(BROKEN), 2)
        assert not store.exists("_replay.json")
        shutil.rmtree(out)
        shutil.rmtree(other.root)
    else:
        pytest.fail(f"a replay has more than {MOST_STEPS} steps")
    assert states[0] == "sealed"
    assert states[-1] == "sealed"
    assert over.count(True) <= 1  # only what is temporary is left to remove then
    assert states.count("interrupted") >= 15


def test_documents_that_kill_the_replay_stay_and_the_others_go_through(
    replay_and_kill: Kill, tiny_model: Path, tmp_path: Path
) -> None:
    corpus = write_corpus(tmp_path / "corpus.jsonl")
    store, _ = poisoned_run(tmp_path / "out", corpus, tiny_model, CRASH, MEMORY)
    expected = poisoned_run(tmp_path / "expected", corpus, tiny_model, MEMORY)[0]
    deaths = 0
    while (code := replay_and_kill(store.root, "deadly")) != 0:
        assert code == -signal.SIGKILL
        deaths += 1
        assert deaths <= MOST_DEATHS * len(XYZZY)
    assert deaths >= 3 * len(XYZZY)
    assert verify(store) == []
    assert rows(store.root).drop(["embedding"]).equals(rows(expected.root).drop(["embedding"]))
    left = [reject for _, reject in read_run(store) if reject.stage is Stage.EXTRACT]
    assert [reject.origin.line - 1 for reject in left] == list(XYZZY)
    assert all(reject.reason is Reason.CRASH and reject.attempts >= 3 for reject in left)
    assert not any("replay" in name for name in store.list("_tmp"))
