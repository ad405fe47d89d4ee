"""The proof from the side of whoever seals: its process is started as soon as it can be, waited for, ended."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import IO, Any

from pipelines.errors import UnfaithfulError
from pipelines.parts.plan import Plan
from pipelines.parts.proof_record import Proof, proof_from_json
from pipelines.parts.run_document import RunDocument
from pipelines.parts.store import Store
from pipelines.proof.sample import sampled_batches
from pipelines.spec import to_json

logger = logging.getLogger(__name__)

_CHILD = "import sys; from pipelines.proof.child import main; main(int(sys.argv[1]))"


@dataclass(frozen=True, slots=True)
class ProofOptions:
    """How many documents are proved (0: none), and for how many seconds a run that is done waits for it."""

    documents: int
    timeout_s: float


NO_PROOF = ProofOptions(0, 0.0)


class Prover:
    """The proof of one run. One thread uses it: :meth:`look` now and then, :meth:`result` before the seal."""

    def __init__(self, store: Store, document: RunDocument, options: ProofOptions) -> None:
        self.store = store
        self.document = document
        self.options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._answers: tuple[IO[bytes], IO[bytes]] | None = None
        self._waited_since: float | None = None
        self._proof: Proof | None = None

    def look(self, plan: Plan) -> None:
        """Start the proof when its documents have their rows; see whether it is done.

        Raises UnfaithfulError where it found a difference, InfrastructureError where the storage fails.
        """
        self._step(plan, all_are_done=False)

    def result(self, plan: Plan) -> Proof | None:
        """What came of it, when all of the run's batches are done; None while it goes on: call again. Raises as look.

        Where it cannot be made, the proof says why: that is no reason not to seal.
        """
        if self.options.documents == 0:
            return Proof(not_made="it was switched off (proof_documents is 0)")
        self._step(plan, all_are_done=True)
        if self._proof is None:
            now = time.monotonic()
            if self._waited_since is None:
                self._waited_since = now
                logger.info("All rows are there; %d of them are proved before the seal.", self.options.documents)
            if now - self._waited_since > self.options.timeout_s:
                self._end(Proof(not_made=f"it took longer than {self.options.timeout_s:.0f} s"))
        return self._proof

    def close(self) -> None:
        """End the process, if it is there."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process = None
        for file in self._answers or ():
            file.close()
        self._answers = None

    def _step(self, plan: Plan, *, all_are_done: bool) -> None:
        if self._proof is not None or self.options.documents == 0:
            return
        if self._process is None:
            batches = sampled_batches(
                self.store,
                plan,
                self.document.spec.corpus,
                self.document.fingerprint,
                documents=self.options.documents,
                all_are_done=all_are_done,
            )
            if batches:
                self._start(batches)
            elif batches is not None:
                self._end(Proof(not_made="no document has a row"))
        elif self._process.poll() is not None:
            self._read()

    def _start(self, batches: list[int]) -> None:
        request = {
            "folder": str(self.store.root),
            "spec": to_json(self.document.spec),
            "fingerprint": self.document.fingerprint,
            "batches": batches,
            "documents": self.options.documents,
        }
        try:
            self._answers = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
            with tempfile.TemporaryFile("w+", encoding="utf-8") as file:
                json.dump(request, file)
                file.seek(0)
                self._process = subprocess.Popen(  # noqa: S603 (our own words, no shell)
                    [sys.executable, "-P", "-c", _CHILD, str(file.fileno())],
                    stdin=subprocess.PIPE,
                    stdout=self._answers[0],
                    stderr=self._answers[1],
                    pass_fds=[file.fileno()],
                    # An interrupt at the terminal is for the command, which ends it. In a session of its own the
                    # process could get as much of the cores as all workers together, however nice it is.
                    process_group=0,
                )
        except OSError as error:
            self._end(Proof(not_made=f"its process cannot be started: {error.strerror or error}"))

    def _read(self) -> None:
        """What the process said last; what it said of itself where it died."""
        assert self._process is not None
        assert self._answers is not None
        texts = []
        for file in self._answers:
            file.seek(0)
            texts.append(file.read().decode(errors="replace").splitlines() or [""])
        try:
            answer: dict[str, Any] = json.loads(texts[0][-1])
            unfaithful: str | None = answer.get("unfaithful")
            proof = proof_from_json(answer.get("proof"))
        except (ValueError, TypeError):
            said = " ".join(texts[1][-1].split())[:200]
            ended = f"its process ended with status {self._process.returncode}"
            proof, unfaithful = Proof(not_made=f"{ended}: {said}" if said else ended), None
        if unfaithful is not None:
            self.close()
            raise UnfaithfulError(
                unfaithful,
                "Nothing is sealed: compute it anew in another folder, on another device or with another --dtype; or "
                f"`penstock resume {self.store.root} --proof 0` seals these rows as they are.",
            )
        self._end(proof or Proof(not_made="its process said nothing"))

    def _end(self, proof: Proof) -> None:
        self._proof = proof
        self.close()
        if proof.not_made:
            logger.warning("The proof was not made: %s.", proof.not_made)
