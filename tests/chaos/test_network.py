"""A network between penstock and its Redis that is cut, frozen, slow or flaps: every run ends in the right dataset."""

from __future__ import annotations

import time

import pytest
from chaos.disturbance import Command
from chaos.scenes import BATCHES, LONG, Outcomes, Scene, scene, scenes_of


@scene("a cut")
def cut(on: Scene) -> None:
    """Connections are reset and nobody gets in for 12 s, or 30."""
    command = on.run()
    on.parts(4, command)
    on.proxy.refusing = True
    on.proxy.reset()
    time.sleep(30 if LONG else 12)
    resumes(on, command)


@scene("a frozen network")
def frozen(on: Scene) -> None:
    """A half-open network: nothing gets through and nobody is told. Then what was on its way arrives."""
    command = on.run()
    on.parts(4, command)
    on.proxy.frozen = True
    time.sleep(60 if LONG else 20)
    resumes(on, command)


@scene("connections that vanish")
def vanished(on: Scene) -> None:
    """A half-open network whose connections never come back: a firewall that forgot them. New ones work."""
    command = on.run()
    on.parts(4, command)
    on.proxy.abandon()
    resumes(on, command)


@scene("resets")
def resets(on: Scene) -> None:
    """Every connection is reset, again and again."""
    command = on.run()
    for number in range(12):
        on.parts(min(2 * number, 30), command)
        on.proxy.reset()
        time.sleep(0.4)
    resumes(on, command)


@scene("flapping")
def flapping(on: Scene) -> None:
    """Two seconds there, two seconds away."""
    command = on.run()
    on.parts(4, command)
    for _ in range(6):
        on.proxy.refusing = True
        on.proxy.reset()
        time.sleep(2)
        on.proxy.heal()
        time.sleep(2)
    resumes(on, command)


@scene("slow")
def slow(on: Scene) -> None:
    """Every piece takes 1 to 3 s in each direction."""
    command = on.run()
    on.parts(4, command)
    on.proxy.delay_s = (1.0, 3.0)
    time.sleep(25)
    resumes(on, command)


@scene("trickling")
def trickling(on: Scene) -> None:
    """10 kB a second."""
    command = on.run()
    on.parts(4, command)
    on.proxy.bytes_per_s = 10_000
    time.sleep(15)
    resumes(on, command)


def resumes(on: Scene, command: Command) -> None:
    """Once the network is well there is a new part within a minute, and all parts in the end."""
    on.proxy.heal()
    before, healed = on.committed(), time.monotonic()
    on.parts(min(before + 3, BATCHES), command)
    print(f"{on.folder.name}: {before} parts at heal, 3 more after {time.monotonic() - healed:.1f} s")
    on.ends_well(command)


@pytest.mark.parametrize("name", scenes_of(__name__))
def test_a_network_that_fails(outcomes: Outcomes, name: str) -> None:
    outcomes[name].result()
