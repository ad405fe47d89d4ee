"""Loads the command line once, with the failpoints in it, and forks a process for each command that it is asked for.

It listens on the socket that is its argument. A request is a line of JSON: the journey's folder, where the command
runs, its log, and the command's words; the answers are two lines: the process's id, and later its exit status.
"""

from __future__ import annotations

import json
import os
import socketserver
import sys
import traceback
from pathlib import Path
from typing import NoReturn

import chaos.failpoint_places  # noqa: F401 - the points are in the code from here on
from chaos import failpoints

from tasks.ledger import Ledger
from worker import cli, supervisor
from worker.lifeline import die_with_parent

# What strikes here is no sign of a broken installation, and those who oversleep shall come back.
supervisor.EARLY_DEATH_S = 0.0
Ledger.overdue_owners = lambda *_: set()  # type: ignore[method-assign, assignment]


class Handler(socketserver.StreamRequestHandler):
    """One command after the other."""

    def handle(self) -> None:
        for line in self.rfile:
            live_on = die_with_parent()
            process = os.fork()
            if process == 0:
                if live_on is not None:
                    live_on()
                become(json.loads(line))
            self.answer(process)
            self.answer(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))

    def answer(self, number: int) -> None:
        self.wfile.write(f"{number}\n".encode())


class Server(socketserver.ForkingMixIn, socketserver.UnixStreamServer):
    """A process for each connection."""

    max_children = 1000
    request_queue_size = 1000


def become(request: dict[str, str]) -> NoReturn:
    """Be the command from now on."""
    code = 1
    try:
        log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for number, source in ((0, nothing), (1, log), (2, log)):
            os.dup2(source, number)
        os.chdir(request["folder"])
        failpoints.feed(Path(request["folder"]))
        cli.main(list(request["words"]))
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    with Server(sys.argv[1], Handler) as server:
        print("ready", flush=True)
        server.serve_forever()
