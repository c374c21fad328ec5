"""What of a method's knobs names a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bench_cli import bench, refused

from harness.cli.listing import _toml, knobs
from harness.config import catalogue
from harness.config.overrides import FIXED, apply_overrides
from harness.config.planning import Request, resolve, use_plugins
from harness.config.replanning import replan
from harness.config.schema import Suite
from harness.config.search_space import Knob
from harness.config.suites import requests
from harness.errors import BenchError
from harness.runs import worker
from harness.runs.launchers import Task
from harness.runs.search import with_knobs
from methods import registry

CODE = '''"""Knobs of many types (an example)."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_serializer, field_validator, model_validator

from methods.source_only import SourceOnly


class Knobs(SourceOnly):
    class Config(SourceOnly.Config):
        {knobs}
'''


@pytest.fixture
def planned(tmp_path):
    """Plans a run of a plug-in whose Config has these lines."""

    def plan(knobs: str, *overrides: str):
        path = tmp_path / "knobs.py"
        path.write_text(CODE.format(knobs=knobs))
        use_plugins([path])
        return resolve(Request(method="knobs", scenario="gta2cs", overrides=overrides))

    yield plan
    registry.use_files(())


FILES = "file: Path | None = None; files: tuple[Path, ...] = ()"


def test_a_file_names_the_run_by_its_content_and_the_method_gets_its_path(planned, tmp_path):
    first, same, other = (tmp_path / name for name in ("a.txt", "b.txt", "c.txt"))
    for path, text in ((first, "1"), (same, "1"), (other, "2")):
        path.write_text(text)
    ids = [planned(FILES, f"file={path}").spec.run_id for path in (first, same, other)]
    assert ids[0] == ids[1] != ids[2]
    first.write_text("3")
    made = planned(FILES, f"file={first}", f"files={same},{other}")
    assert made.spec.run_id not in ids
    assert made.config.file == first
    assert made.config.files == (same, other)
    assert str(tmp_path) not in made.spec.model_dump_json()
    assert planned(FILES).spec.method_config["file"] is None


def test_a_sweeps_worker_gets_the_path_and_a_record_holds_none(planned, tmp_path):
    (path := tmp_path / "a.txt").write_text("1")
    made = planned(FILES, f"file={path}")
    task = Task.model_validate_json(Task.of(made, tmp_path).model_dump_json())
    again = replan(task.spec, None, task.config)
    assert (again.spec.run_id, again.config.file) == (made.spec.run_id, path)
    with pytest.raises(BenchError, match=r"its knob file is a file.*alone, sha256:\w{16}; expec"):
        replan(made.spec, None)
    forged = made.spec.model_copy(update={"method_config": {"file": str(path)}})
    with pytest.raises(BenchError, match="its knob file is a file"):
        replan(forged, None)


@pytest.mark.parametrize(("name", "found"), [("gone.txt", "is not there"), (".", "is no file")])
def test_a_file_that_is_missing_is_refused_by_its_knob(planned, tmp_path, name, found):
    with pytest.raises(BenchError, match=rf"^method knobs: file = \S+ {found}; expected a file"):
        planned(FILES, f"file={tmp_path / name}")


def test_a_path_in_a_table_is_one_too(planned, tmp_path):
    (path := tmp_path / "a.txt").write_text("1")
    table = json.dumps({"a": str(path)})
    spec = planned("files: dict[str, Path] = {}", f"files={table}").spec
    assert spec.method_config["files"]["a"].startswith("sha256:")
    assert Path(path).name not in spec.model_dump_json()


@pytest.mark.parametrize(
    ("name", "model"), [("lr", "profile"), ("metrics", "profile"), ("convention", "scenario")]
)
def test_a_knob_called_like_a_field_of_every_run_is_refused(planned, name, model):
    """In a suite --set lr= went to this method alone, and its variants dropped the others."""
    line = rf"^method knobs: its Config declares {name}, which every {model} has;.* knobs_{name}\.$"
    for overrides in ((), (f"{name}=0.5",), (f"method.{name}=0.5",)):
        with pytest.raises(BenchError, match=line):
            planned(f"{name}: float = 0.1", *overrides)
    with pytest.raises(BenchError, match=line):
        requests(
            Suite(
                name="mine",
                question="?",
                methods=["source_only", "knobs"],
                scenarios=["gta2cs"],
                variants=[[f"{name}=0.5"]],
            )
        )
    assert refused(bench("test-method", "knobs", "--plugin", *plugins())).startswith("bench: meth")
    assert planned(f"critic_{name}: float = 0.1", f"critic_{name}=0.5").config


def plugins():
    return [plug_in.path for plug_in in registry.FILES.values()]


def test_knobs_that_belong_together_are_set_in_any_order(planned):
    required = "x: float; y: float"
    assert planned(required, "x=1", "y=2").config == planned(required, "y=2", "x=1").config
    line = r"^method knobs: x: Field required; y: Field required; give --set x=VALUE --set y=VALUE"
    for overrides in ((), ("loss_stride=2",)):
        with pytest.raises(BenchError, match=line):
            planned(required, *overrides)
    assert "y: Field required; give --set y=VALUE." in refused(
        bench("test-method", "knobs", "--set", "x=1", "--plugin", *plugins())
    )
    for overrides in (("low=2", "high=3"), ("high=3", "low=2")):
        assert planned(ORDERED, *overrides).config.high == 3


def test_of_knobs_that_do_not_fit_together_those_that_were_set_are_named(planned):
    with pytest.raises(BenchError, match=r"^--set low, method.high: low below high expected$"):
        planned(ORDERED, "low=2", "method.high=1")
    with pytest.raises(BenchError, match=r"^--set low: low = 'a': Input should be a valid number"):
        planned(ORDERED, "high=3", "low=a")


ORDERED = """low: float = 0; high: float = 1

        @model_validator(mode="after")
        def ordered(self):
            if not self.low < self.high:
                raise ValueError("low below high expected")
            return self
"""


PERCENT = """weight: float = Field(1.0)

        @field_validator("weight")
        @classmethod
        def share(cls, weight):
            return weight / 100
"""


@pytest.mark.parametrize(
    ("knobs", "reason"),
    [
        (PERCENT, r"weight = 0\.5 becomes 0\.005"),
        ("weight: float = Field(1.0, alias='lambda')", r"weight = 1\.0: unknown key"),
        ("weight: float = Field(1.0, exclude=True)", "weight is not written"),
        ("weight: Any = object()", "Unable to serialize unknown type"),
    ],
    ids=["validator", "alias", "excluded", "no JSON"],
)
def test_knobs_that_json_would_change_are_refused_when_planned(planned, knobs, reason):
    """A run had them, and each run of a sweep failed: its data had changed."""
    overrides = ["weight=50"] if knobs is PERCENT else []
    with pytest.raises(BenchError, match=f"^method knobs: its Config does not .*: {reason}.*; exp"):
        planned(knobs, *overrides)


def test_an_alias_beside_the_name_is_none_of_them(planned):
    alias = "model_config = {'populate_by_name': True}; weight: float = Field(1.0, alias='lambda')"
    made = planned(alias, "weight=2")
    assert made.spec.method_config["weight"] == made.config.weight == 2


def test_a_knob_may_be_written_in_its_own_way(planned):
    knobs = """sizes: tuple[int, ...] = (1, 2)

        @field_validator("sizes", mode="before")
        @classmethod
        def split(cls, sizes):
            return [n for size in sizes for n in str(size).split("x")]

        @field_serializer("sizes", when_used="json")
        def join(self, sizes):
            return ["x".join(map(str, sizes))]
"""
    assert planned(knobs, "sizes=3,4").spec.method_config["sizes"] == ["3x4"]


def test_a_set_names_the_run_whatever_its_order(planned):
    knobs = "names: frozenset[str] = frozenset({'road', 'car', 'bus'}); ids: set[int] = {16, 8, 1}"
    spec = planned(knobs).spec
    assert spec.method_config["names"] == ["bus", "car", "road"]
    assert spec.method_config["ids"] == [1, 8, 16]
    assert replan(spec, None).spec.run_id == spec.run_id


def test_a_file_that_changes_while_a_sweep_runs_stops_its_runs(planned, tmp_path):
    (path := tmp_path / "a.txt").write_text("1")
    made = planned(FILES, f"file={path}")
    (task := tmp_path / "task.json").write_text(Task.of(made, tmp_path).model_dump_json())
    path.write_text("2")
    with pytest.raises(SystemExit, match=r"its knobs, or a file .* have changed since"):
        worker.main(str(task))


TYPES = """weights: list[float] = [1.0, 1.0]
        ids: set[int] | None = None
        names: frozenset[str] = frozenset({"road", "car", "bus"})
        tag: str | None = None
        mode: Literal["none", "null", "1"] = "none"
        file: Path | None = None
        size: int | Literal["all"] = "all"
"""


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("weights=1,2", [1, 2]),
        ("weights=3", [3]),
        ("weights=[1,2]", [1, 2]),
        ("weights=[]", []),
        ("ids=1,2", {1, 2}),
        ("ids=null", None),
        *((f"tag={text}", text) for text in ("5", "true", "[1", "5,6", "none")),
        ('tag="5"', "5"),
        ("tag=null", None),
        ("mode=1", "1"),
        ("mode=null", "null"),
        ("file=null", None),
        ("size=1", 1),
        ("size=all", "all"),
    ],
)
def test_a_value_is_read_as_its_knobs_type(planned, override, value):
    name = override.partition("=")[0]
    assert getattr(planned(TYPES, "tag=x", override).config, name) == value


def test_a_file_may_be_called_like_a_number(planned, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("5").write_text("1")
    assert planned(TYPES, "file=5").config.file == Path("5")


def test_choices_of_a_search_that_look_like_json_are_texts_where_texts_are_wanted(planned):
    request = planned(TYPES) and Request(method="knobs", scenario="gta2cs")
    for value in Knob(choices=("none", "1")).samples:
        assert resolve(with_knobs(request, {"mode": value}, 0)).config.mode == value


def test_what_info_shows_is_what_set_takes(planned):
    planned(TYPES)
    for method in registry.names():
        config = registry.load(method).Config
        usual = config()
        for name, shown, _ in knobs(config):
            made = apply_overrides([f"{name}={shown}"], *TINY, config, {})[2]
            assert getattr(config(**made), name) == getattr(usual, name), f"{method} {name}={shown}"
    tables = {n for n, value in TINY[0] if isinstance(value, dict)} | FIXED.keys()
    for name, shown, _ in _toml("profiles", "tiny").fields:
        if name not in tables:
            made = apply_overrides([f"{name}={shown}"], *TINY, config, {})[0]
            assert made == TINY[0], f"{name}={shown}"


TINY = catalogue.profile("tiny"), catalogue.scenario("gta2cs")


@pytest.mark.parametrize(
    ("knob", "found"),
    [
        ("share: float = Field(1.5, le=1)", "share = 1.5: Input should be less than"),
        ('count: int = Field("three")', "count = 'three': Input should be a valid integer"),
        ("steps: list[int] = Field([0.5])", "steps"),
    ],
)
def test_a_default_that_its_knob_refuses_is_called_so(planned, recwarn, knob, found):
    with pytest.raises(BenchError, match="refuses its own default") as refusal:
        planned(knob)
    assert found in str(refusal.value)
    assert not recwarn.list
    planned(knob, f"{knob.partition(':')[0]}={'[1]' if 'list' in knob else 1}")
