"""Where a verb writes is looked at before it works: the option, what is in the way, what to do."""

from __future__ import annotations

import tempfile

import pytest
import typer
from bench_cli import bench, refused

from harness.cli.main import app
from harness.files import check_output_file, check_output_folder, written_whole

#: Verb, its option, and whether that names a file or a folder; other words of the command line
#: name nothing that is there, so that only what looks at the output first can refuse it.
RUN = ["--method", "source_only", "--scenario", "gta2cs"]
OUTPUTS = {
    ("run", "--results"): ("folder", RUN),
    ("sweep", "--results"): ("folder", ["ci"]),
    ("search", "--results"): ("folder", [*RUN, "--space", "no.toml", "--by", "oracle"]),
    ("eval", "--out"): ("file", ["--checkpoint", "no.pth"]),
    ("predict", "--out"): ("folder", [".", "--checkpoint", "no.pth"]),
    ("export", "--out"): ("folder", ["--checkpoint", "no.pth"]),
    ("export", "--hub"): ("folder", ["--checkpoint", "no.pth"]),
    ("plot", "--out"): ("file", ["gain", "no.json"]),
    ("report", "--out"): ("folder", ["no.json"]),
    ("speed", "--json"): ("file", ["--method", "no"]),
    ("speed", "--trace"): ("file", ["--method", "no"]),
    ("check", "--baseline"): ("file", ["--update"]),
    ("new-method", "--out"): ("folder", ["mine"]),
    ("data new", "--out"): ("folder", ["mine", "--images", "no"]),
    ("data make", "--out"): ("folder", []),
    ("subset", "--out"): ("folder", ["--scenario", "gta2cs"]),
}
#: Options that name a file or folder to read, or results that are only read.
READ = {
    "--data-root", "--plugin", "--records", "--teacher-checkpoint", "--truth", "--images",
    "--labels", "--space", "--checkpoint", "--compare", "--results", "--baseline", "--init",
    "--teacher-init", "--on",
}  # fmt: skip


def path_options(verb=None, words: str = "") -> set[tuple[str, str]]:
    """(verb, option) of every option that takes a file or a folder."""
    verb = verb or typer.main.get_command(app)
    named = {
        (words, parameter.opts[0])
        for parameter in verb.params
        if parameter.param_type_name == "option"
        and any(word in str(parameter.metavar) for word in ("FILE", "DIR", "PATH"))
    }
    below = getattr(verb, "commands", {})
    return named.union(*(path_options(v, f"{words} {name}".strip()) for name, v in below.items()))


def test_every_option_that_names_an_output_is_tried_here():
    outputs = {(verb, option) for verb, option in path_options() if option not in READ}
    assert outputs <= OUTPUTS.keys()
    assert len(outputs) > 10


@pytest.mark.parametrize(("verb", "option"), OUTPUTS)
def test_an_output_that_cannot_be_is_refused_before_any_work(verb, option, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kind, words = OUTPUTS[verb, option]
    (tmp_path / "note.txt").write_text("")
    (tmp_path / "folder").mkdir()
    suffix = ".png" if verb == "plot" else ""
    command = [*verb.split(), *words, option]
    below = refused(bench(*command, f"note.txt/x{suffix}"))
    assert f"{option} note.txt/x" in below
    assert "note.txt is a file" in below
    if kind == "folder":
        there = refused(bench(*command, "note.txt"))
        assert f"{option} note.txt is a file; expected a folder" in there
    elif not suffix:
        there = refused(bench(*command, "folder"))
        assert f"{option} folder is a folder; expected a file" in there
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["folder", "note.txt"]


@pytest.mark.parametrize("check", [check_output_file, check_output_folder])
def test_a_folder_that_takes_no_file_is_refused(check, tmp_path, monkeypatch):
    check("--out", tmp_path / "new" / "x")
    assert list(tmp_path.iterdir()) == []

    def denied(dir):
        raise PermissionError(13, "Permission denied", f"{dir}/tmpabcdef")

    monkeypatch.setattr(tempfile, "TemporaryFile", denied)
    with pytest.raises(Exception, match=r"^--out .*new/x: nothing can be written") as caught:
        check("--out", tmp_path / "new" / "x")
    assert "Permission denied" in str(caught.value)
    assert "tmpabcdef" not in str(caught.value)


@pytest.mark.parametrize("below", ["records", "artifacts"])
def test_where_records_or_weights_cannot_lie_nothing_is_trained(below, tmp_path):
    (tmp_path / below).write_text("a file")
    arguments = ["--method", "source_only", "--scenario", "gta2cs", "--results", tmp_path]
    assert f"{below} is a file; expected a folder" in refused(bench("run", *arguments))
    assert [path.name for path in tmp_path.iterdir()] == [below]


def test_an_error_of_the_system_names_the_file_that_was_asked_for(tmp_path, monkeypatch):
    def denied(self, exist_ok):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr("pathlib.Path.touch", denied)
    with pytest.raises(PermissionError) as caught, written_whole(tmp_path / "scores.json"):
        pass
    assert caught.value.filename == str(tmp_path / "scores.json")
