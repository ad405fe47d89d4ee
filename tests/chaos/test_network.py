"""A network between penstock and its Redis that is cut, frozen, slow or flaps: every run ends in the right dataset."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from chaos.disturbance import Command
from chaos.scenes import Outcomes, Play, Scene, played, selected


def cut(scene: Scene) -> None:
    """Connections are reset and nobody gets in for 12 s."""
    command = scene.run()
    scene.parts(4, command)
    scene.proxy.refusing = True
    scene.proxy.reset()
    time.sleep(12)
    resumes(scene, command)


def frozen(scene: Scene) -> None:
    """A half-open network: nothing gets through and nobody is told. Then what was on its way arrives."""
    command = scene.run()
    scene.parts(4, command)
    scene.proxy.frozen = True
    time.sleep(30)
    resumes(scene, command)


def vanished(scene: Scene) -> None:
    """A half-open network whose connections never come back: a firewall that forgot them. New ones work."""
    command = scene.run()
    scene.parts(4, command)
    scene.proxy.abandon()
    resumes(scene, command)


def resets(scene: Scene) -> None:
    """Every connection is reset, again and again."""
    command = scene.run()
    for number in range(12):
        scene.parts(min(2 * number, 30), command)
        scene.proxy.reset()
        time.sleep(0.4)
    resumes(scene, command)


def flapping(scene: Scene) -> None:
    """Two seconds there, two seconds away."""
    command = scene.run()
    scene.parts(4, command)
    for _ in range(6):
        scene.proxy.refusing = True
        scene.proxy.reset()
        time.sleep(2)
        scene.proxy.heal()
        time.sleep(2)
    resumes(scene, command)


def slow(scene: Scene) -> None:
    """Every piece takes 1 to 3 s in each direction."""
    command = scene.run()
    scene.parts(4, command)
    scene.proxy.delay_s = (1.0, 3.0)
    time.sleep(25)
    resumes(scene, command)


def trickling(scene: Scene) -> None:
    """10 kB a second."""
    command = scene.run()
    scene.parts(4, command)
    scene.proxy.bytes_per_s = 10_000
    time.sleep(15)
    resumes(scene, command)


def resumes(scene: Scene, command: Command) -> None:
    """Once the network is well there is a new part within a minute, and all parts in the end."""
    scene.proxy.heal()
    before, healed = scene.committed(), time.monotonic()
    scene.parts(min(before + 3, 40), command)
    print(f"{scene.folder.name}: {before} parts at heal, 3 more after {time.monotonic() - healed:.1f} s")
    scene.ends_well(command)


SCENES: dict[str, Play] = {
    "a cut of 12 s": cut,
    "frozen for 30 s": frozen,
    "connections that vanish": vanished,
    "resets": resets,
    "flapping": flapping,
    "slow": slow,
    "trickling": trickling,
}


@pytest.fixture(scope="module")
def outcomes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, thin_model: Path
) -> Iterator[Outcomes]:
    with played(selected(request, SCENES), tmp_path_factory.mktemp("network"), thin_model) as outcomes:
        yield outcomes


@pytest.mark.parametrize("scene", SCENES)
def test_a_network_that_fails(outcomes: Outcomes, scene: str) -> None:
    outcomes[scene].result()
