"""Write docs/commands.md from what the commands say of themselves: `python docs/commands.py`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from worker.cli import cli

PAGE = Path(__file__).with_name("commands.md")
HELP_NAMES = cli.context_settings["help_option_names"]
"""click keeps a command's help option once it is made: the page must ask for the one that the command line has."""
HEAD = "# Commands\n\nWritten by `make docs` from the commands' own help; `penstock COMMAND --help` says the same.\n"


def commands(group: click.Group, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command below a group, with the words that call it."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*words, name))
        else:
            yield (*words, name), command


def page() -> str:
    """The whole page."""
    sections = [HEAD]
    for words, command in commands(cli, ("penstock",)):
        context = click.Context(
            command, info_name=" ".join(words), max_content_width=110, terminal_width=110, help_option_names=HELP_NAMES
        )
        sections.append(f"## {' '.join(words[1:])}\n\n```\n{command.get_help(context)}\n```\n")
    return "\n".join(sections)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
