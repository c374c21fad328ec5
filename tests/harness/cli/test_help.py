"""What every help says, and what a shell completes."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
import typer.main
from bench_cli import bench, refused

from harness.cli.grouped import GROUPS
from harness.cli.main import app


def verbs() -> dict[tuple[str, ...], Any]:
    """Every command without commands of its own, by its words."""
    commands: dict[tuple[str, ...], Any] = {}

    def search(words: tuple[str, ...], command: Any) -> None:
        for name, below in getattr(command, "commands", {}).items():
            search((*words, name), below)
        if not hasattr(command, "commands"):
            commands[words] = command

    search((), typer.main.get_command(app))
    return commands


VERBS = verbs()


@pytest.mark.parametrize("words", VERBS, ids=" ".join)
def test_every_example_of_a_verb_is_taken(words):
    shown = VERBS[words].epilog or ""
    lines = [line.strip() for line in shown.splitlines() if line.strip().startswith("bench ")]
    assert lines, f"no example in `bench {' '.join(words)} --help`"
    for line in lines:
        _, *arguments = shlex.split(re.split(r" [|>] ", line)[0])
        assert tuple(arguments[: len(words)]) == words
        VERBS[words].make_context(line, arguments[len(words) :], resilient_parsing=True)


@pytest.mark.parametrize("words", VERBS, ids=" ".join)
@pytest.mark.parametrize("width", ["60", "80", "120"])
def test_a_help_fits_and_is_in_sentences(words, width, monkeypatch):
    monkeypatch.setenv("COLUMNS", width)
    text = bench(*words, "-h").out
    assert max(map(len, text.splitlines())) <= max(int(width), 80)
    assert not re.search(r"<(bool|str|path|list|int|float)|\[\[", text), "a type, not a word"
    for parameter in VERBS[words].params:
        help_text = getattr(parameter, "help", None) or ""
        assert help_text.endswith("."), (words, parameter.name, help_text)


@pytest.mark.parametrize("words", VERBS, ids=" ".join)
def test_an_option_of_one_value_is_given_once(words):
    for parameter in VERBS[words].params:
        if parameter.param_type_name != "option" or (
            parameter.is_flag and not parameter.secondary_opts
        ):
            continue
        name = parameter.opts[0]
        value = () if parameter.is_flag else ("1",)
        outcome = bench(*words, name, *value, name, *value)
        said = f"{'/'.join([name, *parameter.secondary_opts])} is given 2 times; expected once"
        assert (said in outcome.err) != parameter.multiple, (words, name, outcome.err)
        if not parameter.multiple:
            refused(outcome)


def test_every_verb_is_in_a_group():
    text = bench("--help").out
    assert all(f"{title}:\n" in text for title in GROUPS)
    assert "More:" not in text
    assert {words[0] for words in VERBS} <= {name for names in GROUPS.values() for name in names}


@pytest.mark.parametrize("words", sorted({words[:-1] for words in VERBS if len(words) > 1}))
def test_the_verbs_below_a_verb_stand_in_one_list(words):
    text = bench(*words, "--help").out
    assert "\nCommands:\n" in text
    assert not [title for title in (*GROUPS, "More") if f"\n{title}:\n" in text]


def test_the_version_is_printed():
    assert re.fullmatch(r"uda-bench \d+\.\d+\.\d+\S*\n", bench("--version").out)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_verbs_and_names(shell, monkeypatch, capfd):
    def completed(line: str) -> str:
        words = shlex.split(line) + [""] * line.endswith(" ")
        monkeypatch.setenv("_BENCH_COMPLETE", f"complete_{shell}")
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
        monkeypatch.setenv("_TYPER_COMPLETE_ARGS", line)
        monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
        outcome = bench()
        assert outcome.code == 0, outcome
        return outcome.out

    assert "sweep" in completed("bench sw")
    assert "dualkd" in completed("bench run --method dual")
    assert "gta2cs" in completed("bench run --scenario gta2")


@pytest.mark.parametrize("form", ["plain", "json"])
def test_lists_are_not_cut(form, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    name = "mmseg:segformer/segformer_mit-b0_8xb1-160k_cityscapes-1024x1024"
    out = bench("list", "networks", name, "--format", form).out
    assert name in out
    assert all(len(line.split("\t")) == 3 for line in out.splitlines()) or form == "json"


def test_what_does_not_fit_is_to_be_had_by_a_form_that_the_verb_takes(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    outcome = bench("info", "dacs")
    assert "Left out for want of width: what it is; --format plain shows all." in " ".join(
        outcome.out.split()
    )
    assert bench("info", "dacs", "--format", "plain").code == 0


def test_info_takes_a_users_files(tmp_path):
    suite = tmp_path / "mine.toml"
    suite.write_text('question = "which?"\nmethods = ["dacs"]\nscenarios = ["gta2cs"]\n')
    assert "mine (suite)" in bench("info", suite, "--format", "plain").out
    scenario = tmp_path / "own.toml"
    scenario.write_text(
        'title = "a to b"\nsource = "gta5"\ntarget = "cityscapes"\nconvention = "all19"\n'
    )
    assert "a to b" in bench("info", scenario).out
    bench("new-method", "mine_too", "--out", tmp_path)
    assert "mine_too" in bench("info", tmp_path / "mine_too.py").out
    assert "no such file" in refused(bench("info", tmp_path / "other.toml"))


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--method", "dacs", "--scenario", "mine.toml"],
        ["run", "--method", "dacs", "--scenario", "gta2cs", "--profile", "folder/mine"],
        ["sweep", "mine.toml"],
    ],
)
def test_a_file_that_is_missing_is_called_so(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = refused(bench(*arguments))
    assert "mine" in line
    assert "no such file" in line


@pytest.mark.parametrize("name", ["dualk", "sorce_only"])
def test_an_unknown_name_gets_three_near_ones(name):
    line = refused(bench("info", name))
    assert line.count("'") <= 2 * (1 + 3)
    assert "`bench list` prints all" in line
    assert len(line) < 200
