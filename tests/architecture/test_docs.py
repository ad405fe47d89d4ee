"""The pages say what the code says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
IMAGES = ROOT / "docs" / "images"


def test_the_page_of_commands_is_the_commands_own_help() -> None:
    # In a fresh process: click keeps state on its commands, and other tests call them.
    script = "import sys; sys.path.insert(0, 'docs'); import commands; sys.stdout.write(commands.page())"
    fresh = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert (ROOT / "docs" / "commands.md").read_text(encoding="utf-8") == fresh.stdout, "run `make docs`"


def test_the_pictures_are_those_that_are_drawn() -> None:
    script = (
        "import sys, json; sys.path.insert(0, 'docs'); import pictures; "
        "print(json.dumps({name: draw() for name, draw in pictures.PICTURES.items()}))"
    )
    fresh = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    drawn = json.loads(fresh.stdout)
    assert {path.name for path in IMAGES.iterdir()} >= {f"{name}.svg" for name in drawn}
    for name, svg in drawn.items():
        assert (IMAGES / f"{name}.svg").read_text(encoding="utf-8") == svg, "run `make docs`"


def test_every_picture_is_shown_small_and_told_in_words() -> None:
    shown = {}
    for page in PAGES:
        for words, target in re.findall(r"!\[([^\]]*)\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            if not target.startswith("https://"):
                assert (page.parent / target).is_file(), f"{page.name} shows {target}"
                assert len(words.split()) > 5, f"{page.name} has no words for {target}"
                shown[(page.parent / target).resolve()] = page
    assert set(IMAGES.iterdir()) - set(shown) == set(), "a picture that no page shows"
    for path in IMAGES.glob("*.svg"):
        assert ElementTree.parse(path).getroot().tag == "{http://www.w3.org/2000/svg}svg"
        assert path.stat().st_size < 15_000


def test_every_file_that_a_page_names_is_there() -> None:
    named = re.compile(r"(?<![\w/.-])(?:pipelines|tasks|worker|tests)/[\w./-]*\w")
    for page in PAGES:
        for path in named.findall(page.read_text(encoding="utf-8")):
            assert (ROOT / path).exists(), f"{page.name} names {path}"


def test_every_link_between_pages_leads_somewhere() -> None:
    assert len(PAGES) > 3
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
