import getpass
import json
import platform
import subprocess
from pathlib import Path

import pytest
import torch
from forked import forked

from harness import PROTOCOL, __version__
from harness.measure import environment, fingerprint

DOCS = (Path(__file__).parents[3] / "docs" / "records.md").read_text()


def test_it_holds_what_the_docs_name_and_is_json():
    collected = json.loads(json.dumps(environment.collect()))
    section = DOCS.split("## Provenance\n")[1].split("\n## ")[0]
    assert [line.split("`")[1] for line in section.splitlines() if line.startswith("| `")] == list(
        collected
    )
    assert collected["code"]["version"] == __version__
    assert collected["code"]["protocol"] == PROTOCOL
    assert collected["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert collected["flags"]["torch_threads"] == torch.get_num_threads()
    assert 1 <= collected["cpu"]["usable"] <= collected["cpu"]["threads"]
    groups = ("code", "environment", "versions", "flags", "cpu")
    for name in (name for group in groups for name in collected[group]):
        assert name in section
    assert None not in (collected["versions"]["opencv-python"], collected["versions"]["pillow"])


def test_what_the_run_used_is_recorded():
    collected = environment.collect("cpu", "bf16", side_by_side=3)
    assert collected["side_by_side"] == 3
    assert collected["environment"]["device"] == "cpu"
    assert collected["environment"]["precision"] == "bf16"
    assert (
        collected["environment"]["fingerprint"]
        != environment.collect("cpu")["environment"]["fingerprint"]
    )
    assert collected["code"]["fingerprint"] == fingerprint.code_fingerprint()


def test_flags_are_those_set(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    flags = environment.collect()["flags"]
    assert (flags["cudnn_deterministic"], flags["cudnn_benchmark"]) == (True, True)


def test_switches_of_torch_that_contradict_each_other_stop_no_record():
    def contradict() -> None:
        torch.backends.cuda.matmul.fp32_precision = "tf32"
        torch.set_float32_matmul_precision("highest")
        torch.backends.cuda.matmul.fp32_precision = "tf32"
        print(environment.collect()["flags"])

    code, printed = forked(contradict)
    assert code == 0, printed


def test_it_names_no_host_no_user_and_no_path():
    text = json.dumps(environment.collect())
    assert platform.node() not in text
    assert str(Path.home()) not in text
    assert str(environment.ROOT) not in text
    assert f"/{getpass.getuser()}" not in text


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def test_a_checkout_has_a_commit_and_may_be_dirty(tmp_path):
    git(tmp_path, "init")
    (tmp_path / "file").write_text("one")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    clean = environment.checkout(tmp_path)
    assert len(clean["commit"]) == 40
    assert clean["dirty"] is False
    (tmp_path / "untracked").write_text("two")
    assert environment.checkout(tmp_path) == clean
    (tmp_path / "file").write_text("two")
    assert environment.checkout(tmp_path) == {"commit": clean["commit"], "dirty": True}


def test_a_package_inside_another_repository_has_no_commit(tmp_path):
    git(tmp_path, "init")
    inside = tmp_path / "venv"
    inside.mkdir()
    assert environment.checkout(inside) == {"commit": None, "dirty": None}


def test_records_written_meanwhile_make_no_checkout_dirty(tmp_path):
    git(tmp_path, "init")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "a.json").write_text("one")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    (tmp_path / "results" / "a.json").write_text("two")
    assert environment.checkout(tmp_path)["dirty"] is False


def test_an_unknown_package_has_no_version():
    assert environment.version("no-such-package-as-this") is None


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("AMD EPYC", "AMD EPYC (family 26, model 2)"),
        ("Intel(R) Xeon(R) CPU @ 2.20GHz", "Intel(R) Xeon(R) CPU @ 2.20GHz (family 26, model 2)"),
        ("AMD EPYC 9654 96-Core Processor", "AMD EPYC 9654 96-Core Processor"),
    ],
)
def test_processors_of_one_name_are_told_apart(said, name, tmp_path, monkeypatch):
    core = (
        f"processor\t: 0\ncpu family\t: 26\nmodel\t\t: 2\nmodel name\t: {said}\nstepping\t: 1\n\n"
    )
    monkeypatch.setattr(environment, "_CPUINFO", tmp_path / "cpuinfo")
    assert environment.cpu_model(), "no such file: what Python knows"
    (tmp_path / "cpuinfo").write_text(2 * core)
    assert environment.cpu_model() == name
