"""One storm, in a process of its own: start, kill at random, let the run end by itself, look at what it made.

python -m chaos.storm_one --seed N --folder DIR --material DIR [--quick]; prints its result as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
import redis
from chaos.storm_check import check, parts
from chaos.storm_fleet import SEALED, Fleet, Service
from chaos.storm_ledger import Mischief, RedisView
from chaos.storm_material import Material
from chaos.storm_plan import StormPlan, Trouble, plan_storm
from chaos.storm_record import VICTIMS, Hit, Result, recoveries

TICK_S = 0.1
PATIENCE_S = 600.0
"""After the storm: a run that takes longer hangs."""
WEIGHTS = (4, 2, 1, 1, 2)
"""How often each of VICTIMS is chosen: children most, they are back soonest and so are under way when they are hit."""
STILL_HIDDEN_S = 1.0
CODA = ("child", "lost", "parent", "command")
STRIKE_WITHIN_S = 30.0
RECOVERED_WITHIN_S = 200.0


class Storm:
    """The storm over one fleet."""

    def __init__(self, plan: StormPlan, fleet: Fleet, rng: random.Random) -> None:
        self.plan = plan
        self.fleet = fleet
        self.rng = rng
        self.view = RedisView(fleet.redis.client_url, fleet.out)
        self.mischief = Mischief(plan.trouble, self.view, rng)
        self.kills: Counter[str] = Counter()
        self.hits: list[Hit] = []
        self.log = (fleet.folder / "storm.log").open("w")
        self._hidden: list[tuple[str, float, dict[str, int]]] = []
        self._orphans: set[str] = set()

    def blow(self) -> None:
        """Kill until the time is over and there were enough kills, or the run has ended."""
        self._wait_for_work()
        start = time.monotonic()
        next_kill = start + self.rng.uniform(*self.plan.intervals_s)
        while self.fleet.ended is None:
            now = time.monotonic()
            if now - start > self.plan.storm_s and self.kills.total() >= self.plan.least_kills:
                break
            self.fleet.tend()
            if now >= next_kill and self._kill():
                next_kill = time.monotonic() + self.rng.uniform(*self.plan.intervals_s)
            self._mischief()
            self._look_again()
            time.sleep(TICK_S)
        self.say("the storm is over")

    def _wait_for_work(self) -> None:
        """The first minute begins with the first part: what is killed before is only the start of processes."""
        deadline = time.monotonic() + PATIENCE_S
        while not parts(self.fleet.out) and time.monotonic() < deadline:
            self.fleet.tend()
            time.sleep(TICK_S)

    def calm(self) -> bool:
        """Let the run end; False where it does not within all patience."""
        deadline = time.monotonic() + PATIENCE_S
        while self.fleet.ended is None:
            if time.monotonic() > deadline:
                return False
            self.fleet.tend()
            self._look_again()
            if self.plan.trouble is Trouble.TRIPLE:  # every message, to the last one
                self._mischief()
            time.sleep(TICK_S)
        return True

    def coda(self) -> None:
        """After the minute: one kill of each kind that hits a batch, each alone, until its batches are recovered."""
        for kind in CODA:
            if not self._settled():
                return
            hits = len(self.hits)
            self._until(lambda kind=kind, hits=hits: self._hit_alone(kind, hits), STRIKE_WITHIN_S)
            hit = self.hits[-1].batches if len(self.hits) > hits else ()
            self._until(lambda hit=hit: set(hit) <= parts(self.fleet.out).keys(), RECOVERED_WITHIN_S)

    def _hit_alone(self, kind: str, hits: int) -> bool:
        """Lose a message, or kill a process of a command that holds a batch just now."""
        try:
            if kind == "lost":
                batch = self.view.lose(self.rng)
                if batch is not None:
                    self._note(Hit("lost", time.time(), (batch,), alone=True))
                return batch is not None
            leases = self.view.leases().values()
        except redis.RedisError:
            return False
        for host in self.fleet.workers:
            if any(owner.startswith(host.owners) for owner in leases):
                victims = host.children() if kind == "child" else host.parents() if kind == "parent" else []
                if victims or kind == "command":
                    self._strike(kind, host, victims[:1], alone=True)
                    self.kills[kind] += 1
                return len(self.hits) > hits
        return False

    def _settled(self) -> bool:
        """Wait until everything runs and work gets on; False where the run has ended before."""
        there = len(parts(self.fleet.out)) + 2 * self.plan.workers
        services = (*self.fleet.workers, self.fleet.feeder)

        def whole() -> bool:
            alive = self.fleet.redis.alive and all(service.alive for service in services)
            return alive and len(parts(self.fleet.out)) >= there

        return self._until(whole, PATIENCE_S) and self.fleet.ended is None

    def _until(self, there: Callable[[], bool], within_s: float) -> bool:
        deadline = time.monotonic() + within_s
        while self.fleet.ended is None and time.monotonic() < deadline:
            self.fleet.tend()
            self._look_again()
            if there():
                return True
            time.sleep(TICK_S)
        return False

    def _note(self, hit: Hit) -> None:
        self.say(f"{hit.kind} hits batches {hit.batches}{', alone' if hit.alone else ''}")
        self.hits.append(hit)

    def say(self, what: str) -> None:
        print(f"{time.time():.2f} {what}", file=self.log, flush=True)

    def _kill(self) -> bool:
        """Kill one of what is alive; False where the one that was chosen is not."""
        kind = self.rng.choices(VICTIMS, WEIGHTS)[0]
        if kind == "redis":
            if not self.fleet.redis.alive:
                return False
            self.say("kill redis")
            self.fleet.kill_redis()
        elif kind == "feeder":
            if not self.fleet.feeder.alive:
                return False
            self._strike(kind, self.fleet.feeder, [])
        else:
            hosts = [host for host in self.fleet.hosts if kind != "command" or host is not self.fleet.feeder]
            if not hosts:
                return False
            host = self.rng.choice(hosts)
            victims = host.children() if kind == "child" else host.parents() if kind == "parent" else []
            if kind != "command" and not victims:
                return False
            self._strike(kind, host, victims[:1])
        self.kills[kind] += 1
        return True

    def _strike(self, kind: str, host: Service, victims: list[psutil.Process], *, alone: bool = False) -> None:
        """Kill a process of a command, or the command itself; note which batches that hit."""
        owners = host.owners
        try:
            leases, unacknowledged = self.view.leases(), self.view.unacknowledged()
        except redis.RedisError:
            leases, unacknowledged = {}, {}
        if victims:
            for victim in victims:
                victim.kill()
        else:
            self.fleet.kill_service(host)
        at = time.time()
        held = tuple(batch for batch, owner in leases.items() if owner.startswith(owners))
        self.say(f"kill {kind} of {host.name}")
        measured = "child" if kind == "child" else "worker"
        if held:
            self._note(Hit(measured, at, held, alone))
            if measured == "worker":
                self._orphans.update(tag for tag, batch in unacknowledged.items() if batch in held)
        elif host in self.fleet.workers:
            # Delivered, not claimed yet: whose it is shows when it stays that way.
            hidden = {tag: batch for tag, batch in unacknowledged.items() if batch not in leases}
            self._hidden.append((measured, at, {t: b for t, b in hidden.items() if t not in self._orphans}))

    def _look_again(self) -> None:
        """Messages that a killed worker took along before the claim: they are still not acknowledged after a while."""
        for entry in [entry for entry in self._hidden if time.time() - entry[1] > STILL_HIDDEN_S]:
            self._hidden.remove(entry)
            kind, at, before = entry
            try:
                leases, now = self.view.leases(), self.view.unacknowledged()
            except redis.RedisError:
                continue
            taken = {tag: batch for tag, batch in before.items() if tag in now and batch not in leases}
            if kind == "worker":
                self._orphans.update(taken)  # no later kill hits them again
            if batches := tuple(taken.values()):
                self._note(Hit(kind, at, batches))

    def _mischief(self) -> None:
        if not self.view.run:
            return
        try:
            flushes = self.mischief.flushes
            batch = self.mischief.tick()
        except redis.RedisError:
            return  # it is dead just now
        if batch is not None:
            self._note(Hit("lost", time.time(), (batch,)))
        if self.mischief.flushes > flushes:
            self.say("FLUSHALL")


def run_storm(plan: StormPlan, folder: Path, material: Material) -> Result:
    """The storm of a plan; its folder is left behind only where it found something."""
    started = time.monotonic()
    rng = random.Random(plan.seed)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    result = Result(plan.seed, plan.model, plan.trouble.value, plan.workers, plan.lease_s, logs=str(folder))
    with Fleet(plan, folder, material, rng) as fleet:
        storm = Storm(plan, fleet, rng)
        storm.blow()
        if not plan.quick:
            storm.coda()
        ended = storm.calm()
        result.problems += fleet.say_goodbye()
        fleet.redis.stop()
        left = [" ".join(process.cmdline()) for process in fleet.left_over()]
        code = fleet.ended
    if left:
        result.problems.append(f"processes are left over: {left}")
    if not ended:
        result.hangs = 1
        result.problems.append(f"the run did not end within {PATIENCE_S:.0f} s after the storm")
    else:
        if code != SEALED:
            result.problems.append(f"the feeder ended with {code}")
        findings = check(fleet.out, material, plan.model)
        result.lost_rows, result.duplicated_rows = findings.lost, findings.duplicated
        result.problems += findings.problems
    there = parts(fleet.out)
    result.kills = {kind: storm.kills[kind] for kind in VICTIMS}
    result.restarts, result.flushes = fleet.restarts, storm.mischief.flushes
    result.lost_messages = sum(hit.kind == "lost" for hit in storm.hits)
    result.batches = len(there)
    result.deliveries = len(fleet.deliveries.read_text().split()) if fleet.deliveries.exists() else 0
    result.recoveries = recoveries(storm.hits, there)
    result.seconds = round(time.monotonic() - started, 1)
    (folder / "result.json").write_text(json.dumps(result.to_json(), indent=1))
    if not result.failed and "STORM_KEEP" not in os.environ:
        shutil.rmtree(folder)
    return result


def main() -> int:
    """The command line of this file."""
    parser = argparse.ArgumentParser(description="One storm.")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--material", type=Path, required=True)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    plan = plan_storm(arguments.seed, quick=arguments.quick)
    result = run_storm(plan, arguments.folder.resolve(), Material(arguments.material.resolve()))
    print(json.dumps(result.to_json()))
    return 1 if result.failed else 0


if __name__ == "__main__":
    sys.exit(main())
