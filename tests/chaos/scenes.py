"""A run on a Redis of its own, behind a network of its own, that a test disturbs; many at the same time."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import redis
from chaos.disturbance import Command, rows, until_parts
from chaos.noop_model import vectors
from chaos.proxy import Proxy
from chaos.server import PASSWORD, Server

from pipelines.parts.sink import read_footer
from pipelines.parts.store import Store
from pipelines.parts.verify import verify

TESTS = Path(__file__).resolve().parents[1]
DOCUMENTS, BATCH_DOCUMENTS = 600, 15
BATCHES = DOCUMENTS // BATCH_DOCUMENTS
AT_ONCE = 8
LONG = bool(os.environ.get("CHAOS_LONG"))
"""Longer and more of everything; not in every run of the tests."""
LINE = re.compile(r"\d\d:\d\d:\d\d |penstock: |\{")
"""How each line of a command begins: nothing it says takes two."""


def write_corpus(path: Path, documents: int = DOCUMENTS) -> Path:
    """Short documents as JSON Lines."""
    with path.open("w", encoding="utf-8") as file:
        for number in range(documents):
            file.write(json.dumps({"id": f"doc-{number}", "text": f"document number {number}"}) + "\n")
    return path


class Scene:
    """One run and what it stands on. ``url`` leads through the proxy, ``client`` does not."""

    def __init__(self, folder: Path, corpus: Path, model: Path, server: Server, proxy: Proxy) -> None:
        self.folder, self.corpus, self.model = folder, corpus, model
        self.server, self.proxy = server, proxy
        self.out = folder / "out"
        self.url = f"redis://:{PASSWORD}@127.0.0.1:{proxy.port}/0"
        self.client = redis.Redis.from_url(server.client_url)
        self.commands: list[Command] = []

    def start(self, *arguments: object, include: str = "", **environment: str) -> Command:
        """A penstock command with the model that computes nothing, 0.3 s a batch."""
        settings = {
            "PENSTOCK_INCLUDE": ",".join(filter(None, ["chaos.noop_model", include])),
            "PYTHONPATH": os.pathsep.join((str(TESTS), str(TESTS.parent))),
            "NOOP_MICRO_BATCH": "5",
            "NOOP_PAUSE_S": "0.1",
            "PENSTOCK_LEASE_S": "4",
            "OMP_NUM_THREADS": "1",
            **environment,
        }
        self.commands.append(Command(self.folder, *arguments, **settings))
        return self.commands[-1]

    def run(self, *more: object, include: str = "", **environment: str) -> Command:
        """``penstock run`` of the whole corpus through the proxy."""
        return self.start(*self.arguments("run"), "--broker", self.url, *more, include=include, **environment)

    def arguments(self, command: str, out: Path | None = None) -> list[object]:
        return [
            *(command, self.corpus, "--out", out or self.out, "--model", self.model),
            *("--batch-docs", BATCH_DOCUMENTS, "--dtype", "float32", *(["--json"] if command == "run" else [])),
        ]

    def parts(self, count: int, command: Command | None = None) -> None:
        """Wait until so many parts are committed."""
        until_parts(self.out, count, command)

    def pours(self, command: Command, *, once: int = 3) -> None:
        """Wait until some more parts are committed than there are now."""
        self.parts(min(self.committed() + once, BATCHES), command)

    def committed(self, out: Path | None = None) -> int:
        return len(list(((out or self.out) / "data").glob("*.parquet")))

    def ends_well(self, command: Command, out: Path | None = None) -> None:
        """The command ends with 0, has said all it said in single lines, and the dataset is right."""
        assert command.wait() == 0, command.tail()
        said = command.log.read_text(errors="replace").splitlines()
        assert [line for line in said if not LINE.match(line)] == [], command.tail()
        self.assert_right(out or self.out)

    def assert_right(self, out: Path) -> None:
        """Every document's row is there once, in order, with its own vector."""
        found = rows(out)
        expected = [json.loads(line)["id"] for line in self.corpus.read_text().splitlines()]
        assert found.column("id").to_pylist() == expected
        digests = found.column("input_digest").to_pylist()
        assert len(set(digests)) == len(expected)
        found_vectors = np.stack(found.column("embedding").to_numpy(zero_copy_only=False))
        np.testing.assert_array_equal(found_vectors, vectors(digests, found_vectors.shape[1]))
        assert (out / "_SUCCESS").exists()
        assert verify(Store(out)) == []

    def attempts(self, out: Path | None = None) -> list[int]:
        """The attempt that made each part, as its footer says."""
        store = Store(out or self.out)
        return [read_footer(store, batch).attempt for batch in range(self.committed(out))]

    def close(self) -> None:
        for command in self.commands:
            command.stop()
        self.client.close()


Play = Callable[[Scene], None]
Outcomes = Mapping[str, Future[None]]
SCENES: dict[str, tuple[str, Play]] = {}
"""Name → the module that it is tested in, and what is done."""


def scene(name: str) -> Callable[[Play], Play]:
    """Take a function in as a scene; it is played with others at the same time, and tested under its name."""

    def take(play: Play) -> Play:
        assert name not in SCENES
        SCENES[name] = play.__module__, play
        return play

    return take


def scenes_of(module: str) -> list[str]:
    """The names of a module's scenes."""
    return [name for name, (its, _) in SCENES.items() if its == module]


@contextlib.contextmanager
def stage(names: Sequence[str], folder: Path, model: Path) -> Iterator[Outcomes]:
    """Play scenes, several at the same time: most of each is waiting. Their outcomes come as they end."""
    corpus = write_corpus(folder / "corpus.jsonl")
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="scene") as pool:
        try:
            yield {
                name: pool.submit(_play, SCENES[name][1], folder / name.replace(" ", "-"), corpus, model)
                for name in names
            }
        finally:
            pool.shutdown(cancel_futures=True)


def _play(play: Play, folder: Path, corpus: Path, model: Path) -> None:
    folder.mkdir()
    with (
        Server() as server,
        Proxy(str(server.socket)) as proxy,
        contextlib.closing(Scene(folder, corpus, model, server, proxy)) as one,
    ):
        play(one)
