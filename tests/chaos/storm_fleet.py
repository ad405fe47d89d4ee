"""The processes of a storm: a Redis, worker commands and a feeder, each started anew when it ends, as systemd would."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
from chaos.storm_material import ROOT, Material
from chaos.storm_plan import StormPlan

from worker.broker import EmbeddedRedis
from worker.lifeline import die_with_parent

RESTART_AFTER_S = 1.0
GOODBYE_S = 60.0
SEALED, INCOMPLETE = 0, 5
"""Exit codes after which a feeder is not started again."""


class Service:
    """A penstock command that is started anew whenever it ends."""

    def __init__(self, name: str, arguments: list[str], folder: Path, environment: dict[str, str]) -> None:
        self.name = name
        self.arguments = arguments
        self.folder = folder
        self.environment = environment
        self.process: subprocess.Popen[bytes] | None = None
        self.due = 0.0
        self.starts = 0

    def start(self) -> None:
        self.starts += 1
        with (self.folder / f"{self.name}.log").open("ab") as log:
            log.write(f"--- start {self.starts} at {time.time():.2f}: {' '.join(self.arguments)}\n".encode())
            log.flush()
            self.process = subprocess.Popen(
                [sys.executable, "-m", "worker", *self.arguments],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent(),
            )

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def owners(self) -> str:
        """How the names of this command's worker processes begin, in leases."""
        return f"{socket.gethostname()}:{self.pid}:"

    def parents(self) -> list[psutil.Process]:
        """Its Celery processes."""
        return self._descendants("worker.app")

    def children(self) -> list[psutil.Process]:
        """Its processes that compute."""
        return self._descendants("spawn_main")

    def _descendants(self, wanted: str) -> list[psutil.Process]:
        found = []
        with contextlib.suppress(psutil.NoSuchProcess):
            for process in psutil.Process(self.pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    if process.status() != psutil.STATUS_ZOMBIE and wanted in " ".join(process.cmdline()):
                        found.append(process)
        return found


class Fleet:
    """All of a storm's processes. Use it from the main thread; as a context it leaves none of them behind."""

    def __init__(self, plan: StormPlan, folder: Path, material: Material, rng: random.Random) -> None:
        self.plan = plan
        self.folder = folder
        self.out = folder / "out"
        self.deliveries = folder / "deliveries"
        self.rng = rng
        self.redis = EmbeddedRedis(256 * 2**20, append_only=plan.append_only)
        self.redis_due = 0.0
        self.restarts = 0
        self._mark = f"STORM_DELIVERIES={self.deliveries}"
        environment = os.environ | {
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": f"{ROOT / 'tests'}{os.pathsep}{ROOT}",  # this very tree, whatever is installed
            "PENSTOCK_BROKER_URL": self.redis.url,
            "PENSTOCK_LEASE_S": str(plan.lease_s),
            "PENSTOCK_WINDOW": str(plan.window),
            "PENSTOCK_INCLUDE": ("chaos.noop_model," if plan.model == "noop" else "") + "chaos.storm_deliveries",
            "PENSTOCK_PROOF_DOCUMENTS": "0",  # the model that computes nothing gives no model's vectors
            "NOOP_MICRO_BATCH": str(-(-plan.batch_documents // 2)),
            "NOOP_PAUSE_S": str(plan.pause_s),
            "STORM_PAUSE_S": str(2 * plan.pause_s if plan.model == "tiny" else 0),
            "STORM_DELIVERIES": str(self.deliveries),
        }
        self.job = [
            str(material.corpus), "--model", str(material.model(plan.model)), "--dtype", "float32", "--json",
            "--batch-docs", str(plan.batch_documents), "--out", str(self.out), "--wait",
        ]  # fmt: skip
        self.feeder = Service("feeder", ["submit", *self.job], folder, environment)
        self.workers = [
            Service(f"worker-{number}", ["worker", "--devices", "cpu"], folder, environment)
            for number in range(plan.workers)
        ]

    def __enter__(self) -> Fleet:
        self.redis.start()
        for service in (*self.workers, self.feeder):
            service.start()
        return self

    def __exit__(self, *_: object) -> None:
        for service in (*self.workers, self.feeder):
            if service.alive and service.process is not None:
                service.process.kill()
                service.process.wait()
        self.redis.stop()
        for process in self.left_over():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    @property
    def hosts(self) -> list[Service]:
        """The commands that have worker processes."""
        own = self.feeder.arguments[0] == "resume"
        return [service for service in (*self.workers, *([self.feeder] if own else [])) if service.alive]

    @property
    def ended(self) -> int | None:
        """The feeder's exit code, where it is one that ends the run."""
        code = self.feeder.process.poll() if self.feeder.process is not None else None
        return code if code in (SEALED, INCOMPLETE) else None

    def tend(self) -> None:
        """Start what has ended. The feeder goes on by the same `submit` or, once there is a run, by `resume`."""
        now = time.monotonic()
        if not self.redis.alive and now >= self.redis_due:
            self.redis.start()
        for service in (*self.workers, self.feeder):
            if service.alive or (service is self.feeder and self.ended is not None):
                continue
            if not service.due:
                # A command that was killed has a time already; this one ended by itself: paused, or without Redis.
                self.restarts += 1
                service.due = now + RESTART_AFTER_S
            if now >= service.due:
                service.due = 0.0
                if service is self.feeder:
                    self._choose_feeder()
                service.start()

    def kill_redis(self) -> None:
        """SIGKILL it; it is back after a moment."""
        self.redis.kill()
        self.redis_due = time.monotonic() + self.rng.uniform(0.0, 1.5)

    def kill_service(self, service: Service) -> None:
        """SIGKILL a command; what it started dies with it, and it is started anew after a moment."""
        assert service.process is not None
        service.process.kill()
        service.process.wait()
        service.due = time.monotonic() + self.rng.uniform(0.1, 1.5)

    def say_goodbye(self) -> list[str]:
        """End the workers in order. Returns what was wrong about that."""
        told = [service for service in self.workers if service.alive]
        for service in told:
            assert service.process is not None
            service.process.send_signal(signal.SIGTERM)
        problems = []
        for service in told:
            assert service.process is not None
            try:
                code = service.process.wait(timeout=GOODBYE_S)
            except subprocess.TimeoutExpired:
                problems.append(f"{service.name} did not end within {GOODBYE_S:.0f} s of SIGTERM")
                continue
            if code not in (0, -signal.SIGTERM):  # the latter: it had only just been started
                problems.append(f"{service.name} ended with {code} on SIGTERM")
        return problems

    def left_over(self) -> list[psutil.Process]:
        """Processes that this storm started, whoever their parents are now; given a moment to end by themselves."""
        deadline = time.monotonic() + 10.0
        while True:
            found = [process for process in psutil.process_iter() if self._is_ours(process)]
            if not found or time.monotonic() > deadline:
                return found
            time.sleep(0.2)

    def _is_ours(self, process: psutil.Process) -> bool:
        if process.pid == self.redis.pid:
            return False
        try:
            return self._mark.encode() in Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
        except OSError:
            return False

    def _choose_feeder(self) -> None:
        opened = (self.out / "_run.json").exists()
        if opened and self.plan.feeder_brings_worker:
            self.feeder.arguments = ["resume", str(self.out), "--devices", "cpu", "--json"]
        else:
            self.feeder.arguments = ["submit", *self.job]
