"""How commands refuse: the code says who is at fault, one line says what was found, what was wanted, what to do."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from acceptance.commands import call, write_jsonl
from acceptance.conftest import Ask, Sealed

from worker.cli import cli
from worker.cli import verify as verify_command

COMMANDS = [
    ("run",), ("submit",), ("worker",), ("status",), ("resume",), ("cancel",), ("verify",), ("doctor",),
    ("quarantine", "list"), ("quarantine", "show"), ("quarantine", "replay"), ("config", "show"),
    ("encode",), ("decode",), ("predict",), ("fill-mask",), ("disambiguate",),
    ("model", "info"), ("model", "list"), ("model", "import-fairseq"), ("model", "export-fairseq"),
]  # fmt: skip


def test_these_are_all_commands() -> None:
    assert {words[0] for words in COMMANDS} == set(cli.commands)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_explains_itself_and_takes_json(words: tuple[str, ...], ask: Ask) -> None:
    answer = ask(*words, "--help")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith(f"Usage: penstock {' '.join(words)} ")
    assert "--json" in answer.out
    assert "--debug" in answer.out
    assert ask(*words, "-h").out == answer.out


def test_the_list_of_commands_is_readable(ask: Ask) -> None:
    answer = ask("--help")
    assert answer.code == 0
    for words in COMMANDS:
        assert f"  {words[0]} " in answer.out
    assert "..." not in answer.out.split("Commands:")[1]
    assert ask("--version").out.startswith("penstock")


@pytest.mark.parametrize("words", [(), ("quarantine",), ("config",)])
def test_half_a_command_gets_help_and_code_2(words: tuple[str, ...], ask: Ask) -> None:
    answer = ask(*words)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("Usage: penstock")
    assert "Commands:\n" in answer.err


USAGE: list[tuple[tuple[object, ...], str]] = [
    (("--max-tokens", 1000), "128"),
    (("--max-tokens", 0), "--max-tokens"),
    (("--limit", 0), "--limit"),
    (("--batch-docs", 0), "--batch-docs"),
    (("--dtype", "float8"), "bfloat16"),
    (("--embed", "sum"), "mean"),
    (("--format", "xml"), "jsonl"),
    (("--devices", "moon"), "auto, cpu, cpu:N"),
    (("--devices", "cpu:0"), "cpu:N"),
    (("--max-quarantined", "many"), "1%"),
    (("--max-quarantined", "101%"), "1%"),
    (("--encoding", "klingon"), "klingon"),
    (("--whole-files", "--format", "csv"), "--whole-files"),
    (("--keep", "number:number"), "not a type"),
    (("--keep", "number="), "COL[:TYPE][=NAME]"),
    (("--broker", "http://example.org"), "redis://"),
    (("--nonsense",), "--help"),
]


@pytest.mark.parametrize(
    ("extra", "said"), USAGE, ids=lambda value: value if isinstance(value, str) else " ".join(map(str, value))
)
def test_wrong_usage_is_2(extra: tuple[object, ...], said: str, sealed: Sealed, tmp_path: Path, ask: Ask) -> None:
    command = ("run", sealed.corpus, "--out", "out", "--model", sealed.model, "--dtype", "float32", *extra)
    answer = ask(*command)
    assert answer.code == 2
    assert said in answer.refusal
    error = ask(*command, "--json")
    assert error.code == 2
    assert error.value["error"].keys() == {"code", "message", "hint"}
    assert error.value["error"]["code"] == "usage"
    assert (error.err, answer.refusal) == (
        "",
        f"{error.value['error']['message']} {error.value['error']['hint']}".rstrip(),
    )
    assert not (tmp_path / "out").exists()


def test_missing_words_are_2(sealed: Sealed, ask: Ask) -> None:
    for command, said in (
        (("run",), "CORPUS"),
        (("run", sealed.corpus, "--out", "out"), "--model"),
        (("run", sealed.corpus, "--model", sealed.model), "--out"),
        (("run", "-", "--dtype", "float32", "--out", "out", "--model", sealed.model), "--format"),
        (("run", "-", "-", "--dtype", "float32", "--format", "csv", "--out", "out", "--model", sealed.model), "once"),
        (("submit", sealed.corpus, "--out", "out", "--model", sealed.model), "--broker"),
        (("worker",), "--broker"),
        (("resume",), "DIR"),
        (("flush",), "penstock --help"),
    ):
        answer = ask(*command)
        assert answer.code == 2, command
        assert said in answer.refusal


INPUT: list[tuple[dict[str, object], tuple[object, ...], str]] = [
    ({"corpus": "nowhere.jsonl"}, (), "nowhere.jsonl"),
    ({"corpus": "no*.jsonl"}, (), "matches no file"),
    ({"corpus": "s3://bucket/corpus.jsonl"}, (), "Only local files"),
    ({"corpus": "empty"}, (), "no file to read"),
    ({"corpus": "mixed"}, (), "mixes formats"),
    ({"corpus": "array.json"}, (), "JSON Lines"),
    ({"corpus": "picture"}, (), "--format"),
    ({"model": "nowhere"}, (), "no model folder 'nowhere'"),
    ({"model": "empty"}, (), "config.json"),
    ({}, ("--text-column", "body"), "There are: id, text, number, parity."),
    ({}, ("--pair-column", "second"), "There are: id, text, number, parity."),
    ({}, ("--id-column", "key"), "There are: id, text, number, parity."),
    ({}, ("--keep", "year"), "There are: id, text, number, parity."),
    ({}, ("--classify", "self"), "no classifier, it is an encoder"),
    ({}, ("--classify", "a=nowhere"), "nowhere"),
    ({}, ("--devices", "0"), "--devices cpu"),
    ({}, ("--devices", "GPU-0123"), "--devices cpu"),
    ({}, ("--broker", "redis://127.0.0.1:1/0"), "cannot be reached"),
]


@pytest.mark.parametrize(
    ("place", "extra", "said"),
    INPUT,
    ids=lambda value: value if isinstance(value, str) else " ".join(map(str, value)) or "-",
)
def test_input_or_environment_at_fault_is_3(
    place: dict[str, object],
    extra: tuple[object, ...],
    said: str,
    sealed: Sealed,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ask: Ask,
) -> None:
    monkeypatch.setenv("PATH", "/usr/nowhere")  # no nvidia-smi: this machine has no GPU
    (tmp_path / "empty").mkdir()
    write_jsonl(tmp_path / "mixed" / "a.jsonl", [{"text": "a"}])
    (tmp_path / "mixed" / "b.txt").write_text("b\n")
    (tmp_path / "array.json").write_text('[\n {"text": "a"},\n {"text": "b"}\n]\n')
    (tmp_path / "picture").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\xff")
    words: dict[str, Any] = {"corpus": sealed.corpus, "model": sealed.model, **place}
    command = ("run", words["corpus"], "--out", "out", "--model", words["model"], "--dtype", "float32", *extra)
    answer = ask(*command)
    assert answer.code == 3
    assert said in answer.refusal
    error = ask(*command, "--json")
    assert error.code == 3
    assert error.value["error"]["code"] in ("input", "environment")
    assert not (tmp_path / "out").exists()


def test_a_folder_without_a_run_is_3(tmp_path: Path, ask: Ask) -> None:
    for command in ("resume", "cancel", "verify", "quarantine list", "quarantine show", "status"):
        for folder in (tmp_path, tmp_path / "nowhere"):
            answer = ask(*command.split(), folder)
            assert answer.code == 3, command
            assert str(folder) in answer.refusal
            assert "error" in ask(*command.split(), folder, "--json").value


def test_an_edited_run_document_is_4(sealed: Sealed, tmp_path: Path, ask: Ask) -> None:
    out = tmp_path / "out"
    shutil.copytree(sealed.out, out)
    document = out / "_run.json"
    for text in (document.read_text().replace('"max_tokens": 128', '"max_tokens": 64'), "{}", "not JSON"):
        document.write_text(text)
        for command in ("resume", "status", "cancel"):
            answer = ask(command, out)
            assert answer.code == 4
            assert str(document) in answer.refusal


def test_a_bug_is_1_and_one_line(sealed: Sealed, monkeypatch: pytest.MonkeyPatch, ask: Ask) -> None:
    def broken(*_: object) -> None:
        raise ValueError("two\nlines")

    monkeypatch.setattr(verify_command, "differences_of", broken)
    answer = ask("verify", sealed.out)
    assert answer.code == 1
    assert answer.refusal.startswith(
        "ValueError: two lines: this is a bug in penstock. Run the command again with --debug"
    )
    assert ask("verify", sealed.out, "--json").value["error"]["code"] == "bug"
    debug = ask("verify", sealed.out, "--debug")
    assert debug.code == 1
    assert "Traceback" in debug.err


def test_tracebacks_are_for_debug_only(ask: Ask) -> None:
    assert "Traceback" not in ask("resume", "nowhere").err
    assert "Traceback" in ask("resume", "nowhere", "--debug").err


def test_the_installed_command_is_the_same(tmp_path: Path) -> None:
    answer = call(tmp_path, "resume", "nowhere")
    assert answer.code == 3
    assert answer.refusal.startswith(f"{tmp_path}/nowhere holds no run of penstock.")
