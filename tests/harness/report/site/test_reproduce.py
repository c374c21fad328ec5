import shlex

import pytest
from bench_cli import SETTINGS
from fake_records import fake_record

from harness.config import catalogue
from harness.config.planning import Request, resolve
from harness.report.site.reproduce import reproduction


def record_of(**request):
    """A record of what a request resolves to today."""
    spec = resolve(Request(**request)).spec
    return fake_record().model_copy(update={"spec": spec, "run_id": spec.run_id})


def request_in(command):
    """What the command line asks for, as a Request."""
    words = shlex.split(command)[2:]
    pairs = list(zip(words[::2], words[1::2], strict=True))
    values = {
        name.removeprefix("--").replace("-", "_"): value for name, value in pairs if name != "--set"
    }
    overrides = tuple(value for name, value in pairs if name == "--set")
    return Request(**values, overrides=overrides)


@pytest.mark.parametrize(
    "request_",
    [
        {"method": "source_only", "scenario": "gta2cs", "profile": "gate", "seed": 3},
        {"method": "dualkd", "scenario": "synthia2cs", "profile": "tiny", "teacher": "mini_l"},
        {
            "method": "dacs", "scenario": "gta2cs", "profile": "tiny", "student": "test_mit",
            "overrides": (*SETTINGS, "source_augmentation=none"),
        },
        {"method": "source_only", "scenario": "gta2cs", "overrides": ("length=4",), "init": "none"},
        {
            "method": "dualkd", "scenario": "gta2cs", "profile": "tiny",
            "teacher": "timm:tf_efficientnet_lite0:topdown", "teacher_init": "none",
        },
    ],
)  # fmt: skip
def test_the_command_is_exactly_the_run(request_):
    record = record_of(**request_)
    command, note = reproduction(record)
    assert note == "With this uda-bench, this command is exactly this run."
    assert resolve(request_in(command)).spec.run_id == record.run_id


def test_what_is_another_run_today_is_said_with_the_commit():
    record = record_of(method="dacs", scenario="gta2cs", profile="gate")
    spec = record.spec.model_copy(update={"protocol": 0})
    old = record.model_copy(
        update={"spec": spec, "run_id": spec.run_id, "provenance": {"code": {"commit": "abc1234"}}}
    )
    note = reproduction(old).note
    assert "another run: protocol differ" in note
    assert "at commit abc1234" in note


def test_a_name_of_a_stranger_is_quoted_and_real_data_is_asked_for():
    command, note = reproduction(fake_record("x; rm -rf $HOME", generated=False))
    assert shlex.split(command)[3] == "x; rm -rf $HOME"
    assert command.endswith("--data-root DATA")
    assert note.startswith("Not checked: ")


def test_of_real_data_that_is_not_here_the_command_has_every_setting():
    """Those of the scenario too. It had none, so that it made another run and did not say so."""
    record = record_of(
        method="daformer", scenario="gta2cs", profile="tiny",
        overrides=("lambda_fd=0.01", "length=2", "convention=ignored16"),
    )  # fmt: skip
    spec = record.spec
    refs = {
        name: getattr(spec, name).model_copy(update={"generated": False, "fingerprint": "f" * 10})
        for name in ("source", "target")
    }
    scenario = spec.scenario.model_copy(update={"eval_split": "test"})  # which none generates
    spec = spec.model_copy(update=refs | {"scenario": scenario})
    real = record.model_copy(update={"spec": spec, "run_id": spec.run_id})
    command, note = reproduction(real)
    assert note == "With this uda-bench and the same data, this command is exactly this run."
    assert command.endswith("--data-root DATA")
    asked = request_in(command.removesuffix(" --data-root DATA"))
    assert set(asked.overrides) == {
        "lambda_fd=0.01", "profile.length=2", "scenario.convention=ignored16",
        "scenario.eval_split=test",
    }  # fmt: skip


def test_a_file_that_a_knob_names_stands_in_capitals():
    record = record_of(method="dacs", scenario="gta2cs", profile="gate")
    config = record.spec.method_config | {"file": "sha256:" + "0" * 64}
    spec = record.spec.model_copy(update={"method_config": config})
    command, _ = reproduction(record.model_copy(update={"spec": spec}))
    assert "--set file=FILE" in command


def test_a_scenario_and_a_profile_of_ones_own_are_files(tmp_path, monkeypatch):
    """The command named them as if they were shipped, and no `bench run` knew it."""
    monkeypatch.chdir(tmp_path)
    shipped = catalogue.BENCHMARKS
    for kind, name, own in (("scenarios", "gta2cs", "mine"), ("profiles", "gate", "quick")):
        (tmp_path / f"{own}.toml").write_text((shipped / kind / f"{name}.toml").read_text())
    record = record_of(method="dacs", scenario="mine.toml", profile="quick.toml")
    command, note = reproduction(record)
    assert note == "With this uda-bench, this command is exactly this run."
    assert resolve(request_in(command)).spec.run_id == record.run_id
    (tmp_path / "mine.toml").unlink()
    command, note = reproduction(record)
    assert "--scenario mine.toml --profile quick.toml" in command
    assert "mine.toml: no such file" in note


def test_a_network_of_ones_own_is_a_file():
    record = record_of(method="source_only", scenario="gta2cs", profile="tiny")
    spec = record.spec.model_copy(update={"student": "mmseg:my_net.py@0123456789"})
    command, note = reproduction(record.model_copy(update={"spec": spec}))
    assert request_in(command).student == "mmseg:my_net.py"
    assert note.startswith("Not checked: ")
