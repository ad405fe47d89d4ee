"""The command line: each command parses, makes one call, and prints. This file maps errors to exit codes."""

from __future__ import annotations

import signal
import sys
import traceback
from typing import NoReturn

import click

from pipelines import __version__
from pipelines.errors import CancelledError, PenstockError, UsageError
from worker import logs
from worker.cli import by_hand, cancel, config, doctor, model, quarantine, resume, run, status, submit, verify, worker
from worker.cli.output import emit_error


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, package_name="penstock")
def cli() -> None:
    """Document streams in, sealed Parquet datasets of RoBERTa embeddings and labels out."""


for command in (
    run.run,
    submit.submit,
    worker.worker,
    status.status,
    resume.resume,
    cancel.cancel,
    verify.verify,
    quarantine.quarantine,
    model.model,
    doctor.doctor,
    config.config,
    by_hand.encode,
    by_hand.decode,
    by_hand.predict,
    by_hand.fill_mask,
    by_hand.disambiguate,
):
    cli.add_command(command)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run a command and exit with its code (contract: *Commands*)."""
    given = sys.argv[1:] if arguments is None else arguments
    as_json, debug = "--json" in given, "--debug" in given
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C, where nothing has to be ended in order
    try:
        _refuse_nul(given)
        code = cli.main(args=given, prog_name="penstock", standalone_mode=False)
    except click.exceptions.Exit as exit_:
        code = exit_.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        if as_json:
            emit_error(UsageError("No command is given.", f"`{_help(error)}` lists what there is."), as_json=True)
        else:
            click.echo(error.format_message(), err=True)
        code = UsageError.exit_code
    except click.ClickException as error:
        hint = f"`{_help(error)}` lists what there is." if isinstance(error, click.UsageError) else ""
        emit_error(UsageError(_sentence(error.format_message()), hint), as_json=as_json)
        code = UsageError.exit_code
    except PenstockError as error:
        if debug:
            click.echo(logs.clean(traceback.format_exc()), err=True)
        emit_error(error, as_json=as_json)
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        emit_error(CancelledError("Interrupted."), as_json=as_json)
        code = CancelledError.exit_code
    except BrokenPipeError:
        code = 0  # the reader of our output has seen enough
    except Exception as error:  # the last line of defence: a bug, said in one line
        if debug:
            click.echo(logs.clean(traceback.format_exc()), err=True)
        bug = PenstockError(
            f"{type(error).__name__}: {' '.join(str(error).split())}: this is a bug in penstock.",
            "" if debug else "Run the command again with --debug and report what it prints.",
        )
        emit_error(bug, as_json=as_json)
        code = bug.exit_code
    sys.exit(code if isinstance(code, int) else 0)


def _refuse_nul(arguments: list[str]) -> None:
    """No file, column or address has a NUL in it; the first system call that sees one would fail as a bug."""
    for argument in arguments:
        if "\0" in argument:
            raise UsageError("An argument holds a NUL, which no name can.", "Leave it out.")


def _help(error: click.UsageError) -> str:
    """How to ask for the help of the command that an error is about."""
    return f"{error.ctx.command_path if error.ctx is not None else 'penstock'} --help"


def _sentence(message: str) -> str:
    line = " ".join(message.split())
    return line if line.endswith(".") else f"{line}."
