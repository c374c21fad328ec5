"""`--plugin FILE`: known by its name, named by its content, refused with a reason."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from bench_cli import QUICK, SETTINGS, bench, refused

from harness.config.planning import Request, resolve, use_plugins
from harness.config.replanning import replan
from harness.records import store
from harness.runs import worker
from methods import registry

CODE = '''"""Calm: an example (nobody, never)."""

from methods.source_only import SourceOnly


class Calm(SourceOnly):
    """Source-only by another name."""

    title = "Calm"
'''


@pytest.fixture(autouse=True)
def no_files_afterwards():
    yield
    registry.use_files(())


@pytest.fixture
def calm(tmp_path) -> Path:
    path = tmp_path / "calm.py"
    path.write_text(CODE)
    return path


def spec_of(path: Path, method: str = "calm"):
    use_plugins([path])
    return resolve(Request(method=method, scenario="gta2cs", overrides=tuple(SETTINGS))).spec


def test_it_is_listed_and_shown_without_importing_it(calm):
    calm.write_text(CODE + "print('imported')\n")
    listed = bench("list", "methods", "--plugin", calm)
    assert "Calm: an example" in listed.out
    assert "imported" not in listed.out
    assert "Source-only by another name" in bench("info", "calm", "--plugin", calm).out


def test_without_its_file_it_is_unknown_again(calm):
    assert bench("info", "calm", "--plugin", calm).code == 0
    line = refused(bench("run", "--method", "calm", "--scenario", "gta2cs"))
    assert "unknown method 'calm'" in line
    assert "--plugin calm.py" in line


def test_the_environment_names_files_too(calm, monkeypatch):
    second = calm.with_name("calmer.py")
    second.write_text(CODE)
    monkeypatch.setenv("UDA_BENCH_PLUGIN", os.pathsep.join(map(str, (calm, second))))
    listed = bench("list", "methods").out
    assert "calm " in listed
    assert "calmer" in listed


@pytest.mark.parametrize("ends", [":{}", "{}:", "{}::{}"])
def test_the_environments_list_may_end_in_a_colon_and_name_a_file_twice(ends, calm, monkeypatch):
    monkeypatch.setenv("UDA_BENCH_PLUGIN", ends.replace(":", os.pathsep).format(calm, calm))
    listed = bench("list", "methods", "calm")
    assert "Calm: an example" in listed.out, listed


def test_a_file_of_the_environment_that_is_gone_is_not_said_to_be_an_option(tmp_path, monkeypatch):
    monkeypatch.setenv("UDA_BENCH_PLUGIN", str(gone := tmp_path / "gone.py"))
    line = refused(bench("list", "methods"))
    assert line.startswith(f"bench: UDA_BENCH_PLUGIN {gone}: No such file")
    line = refused(bench("list", "methods", "--plugin", gone))
    assert line.startswith(f"bench: --plugin {gone}: No such file")


@pytest.mark.parametrize(
    ("name", "code", "reason"),
    [
        ("gone.py", None, "No such file"),
        ("dualkd.py", CODE, "there is a method dualkd already"),
        ("my-method.py", CODE, "called after its file"),
        ("notes.txt", CODE, "called after its file"),
        ("empty.py", "x = 1\n", "defines 0 methods (none), expected one"),
        (
            "two.py",
            CODE + "\n\nclass Calmer(Calm):\n    pass\n",
            "defines 2 methods (Calm, Calmer)",
        ),
        (
            "raises.py",
            "\n1 / 0\n",
            "cannot be imported (ZeroDivisionError: division by zero, line 2)",
        ),
        ("syntax.py", "def\n", "cannot be imported (SyntaxError"),
        ("imports.py", "import no_such.module\n", "install what brings no_such, or correct"),
    ],
)
def test_what_is_no_method_is_refused_in_one_line(tmp_path, name, code, reason):
    path = tmp_path / name
    if code is not None:
        path.write_text(code)
    line = refused(bench("info", path.stem, "--plugin", path))
    assert reason in line
    assert str(path) in line


def test_a_fifo_hangs_nothing(tmp_path):
    path = tmp_path / "fifo.py"
    os.mkfifo(path)
    assert "no regular file" in refused(bench("info", "fifo", "--plugin", path))


def test_one_broken_file_does_not_hide_the_others(tmp_path, calm):
    broken = tmp_path / "broken.py"
    broken.write_text("def\n")
    listed = bench("list", "methods", "--plugin", broken, "--plugin", calm)
    assert listed.code == 0
    assert "Calm: an example" in listed.out
    assert "correct the file" in listed.out


def test_a_name_is_taken_once(calm, tmp_path):
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / "calm.py"
    other.write_text(CODE)
    line = refused(bench("list", "methods", "--plugin", calm, "--plugin", other))
    assert f"there is a method calm already, of {calm}; rename the file" in line


def test_a_base_class_of_its_own_begins_with_an_underscore(calm):
    calm.write_text(
        CODE.replace("class Calm", "class _Base") + "\n\nclass Calm(_Base):\n    pass\n"
    )
    use_plugins([calm])
    assert registry.load("calm").__name__ == "Calm"


def test_a_run_is_named_after_the_codes_content_alone(calm, tmp_path):
    (tmp_path / "other").mkdir()
    moved = tmp_path / "other" / "calm.py"
    moved.write_text(CODE)
    first = spec_of(calm)
    assert spec_of(moved) == first
    assert str(tmp_path) not in first.model_dump_json()
    calm.write_text(CODE + "\n# changed\n")
    changed = spec_of(calm)
    assert changed.run_id != first.run_id
    assert changed.weights_id != first.weights_id
    assert resolve(Request(method="dualkd", scenario="gta2cs")).spec.plugins == {}


def test_it_joins_with_others(calm):
    calm.write_text(
        CODE.replace("source_only import SourceOnly", "daformer import DAFormer").replace(
            "SourceOnly", "DAFormer"
        )
    )
    spec = spec_of(calm, "mic+calm")
    assert spec.method == "calm+mic"
    assert list(spec.plugins) == ["calm"]


def test_a_file_that_changes_while_a_sweep_runs_stops_its_runs(calm, tmp_path):
    spec = spec_of(calm)
    calm.write_text(CODE + "\n# changed\n")
    task = worker.Task(
        spec=spec, config=spec.method_config, plugins=[calm], results=tmp_path, device="cpu"
    )
    path = tmp_path / "task.json"
    path.write_text(task.model_dump_json())
    with pytest.raises(SystemExit, match="start the sweep again"):
        worker.main(str(path))


def test_a_baseline_holds_for_changed_code_and_asks_for_the_file(calm, tmp_path):
    arguments = ["--method", "calm", "--plugin", calm, "--scenario", "gta2cs", *QUICK]
    outcome = bench("run", *arguments, "--results", tmp_path)
    assert outcome.code == 0, outcome.err
    (record,) = store.read_all(tmp_path / "records")
    registry.use_files(())
    with pytest.raises(Exception, match=r"give its file, --plugin calm\.py"):
        replan(record.spec, None)
    (baseline,) = (tmp_path / "records").glob("*.json")
    line = refused(bench("check", "--baseline", baseline))
    assert "--plugin calm.py" in line
    calm.write_text(CODE + "\n# changed, computing the same\n")
    checked = bench("check", "--baseline", baseline, "--plugin", calm)
    assert "not measured" not in checked.out, checked
    assert "loss" not in checked.out  # those that hold are not listed
