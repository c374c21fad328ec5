import io
import os

import torch
from rich.console import Console

from harness.cli import doctor
from harness.cli.doctor import Diagnosis


def test_it_looks_at_every_topic(tmp_path):
    findings = {f.topic: f for f in doctor.examine(cache=tmp_path)}
    topics = ["python", "torch", "gpu", "mmsegmentation", "data", "cache", "disk", "processor"]
    assert [t for t in topics if t not in findings] == []
    assert findings["torch"].state == "ok"
    assert torch.__version__.split("+")[0] in findings["torch"].detail
    assert all(f.advice for f in findings.values() if f.state != "ok")


def test_a_broken_import_is_a_finding_with_a_remedy(monkeypatch):
    def broken(name: str) -> None:
        raise RuntimeError(f"operator {name}::nms does not exist\nlong trace")

    monkeypatch.setattr(doctor.importlib, "import_module", broken)
    finding = doctor.torch_and_torchvision()
    assert finding.state == "bad"
    assert finding.detail.endswith("torch: RuntimeError: operator torch::nms does not exist")
    assert "from one index" in finding.advice
    assert doctor.mmsegmentation().advice == "pip install mmengine mmcv-lite ftfy regex"
    assert doctor.gpu().advice


def test_a_gpu_that_torch_does_not_see(monkeypatch):
    monkeypatch.setattr(doctor, "driver_version", lambda: "550.1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    finding = doctor.gpu()
    assert finding.state == "bad"
    assert "driver 550.1 is there" in finding.detail


def test_no_gpu_is_a_warning(monkeypatch):
    monkeypatch.setattr(doctor, "driver_version", lambda: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert doctor.gpu().state == "warn"


def test_data_sets_under_the_root(tmp_path):
    assert doctor.data_sets(None)[0].state == "ok"
    assert doctor.data_sets(tmp_path / "gone")[0].state == "bad"
    for part in ("leftImg8bit/val", "gtFine/val"):
        (tmp_path / "cityscapes" / part).mkdir(parents=True)
    found, others = doctor.data_sets(tmp_path)
    assert (found.topic, found.state) == ("cityscapes", "ok")
    assert others.state == "ok", "nobody needs all of them"
    assert "acdc, bdd100k" in others.detail
    assert "docs/data.md" in others.advice
    (none,) = doctor.data_sets(tmp_path / "cityscapes/leftImg8bit")
    assert (none.topic, none.state) == ("data", "warn")


def test_a_cache_that_does_not_exist_yet_is_fine_where_it_can_be_made(tmp_path):
    assert doctor.cache_folder(tmp_path / "new" / "cache").state == "ok"
    assert not (tmp_path / "new").exists()


def test_a_read_only_cache_is_bad(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert doctor.cache_folder(tmp_path).state == "bad"


def test_scarce_disk_memory_and_shared_memory_are_warned_of(tmp_path):
    assert doctor.disk(tmp_path, enough_gib=1e9).state == "warn"
    assert doctor.memory(enough_gib=1e9).state == "warn"
    assert "--shm-size" in doctor.shared_memory(tmp_path, enough_gib=1e9)[0].advice
    assert doctor.shared_memory(tmp_path / "none") == []


def test_findings_are_printed_with_their_advice():
    console = Console(file=io.StringIO(), width=80, color_system=None)
    doctor.render(
        [Diagnosis("python", "ok", "3.11"), Diagnosis("gpu", "bad", "[none]", "buy one")], console
    )
    assert console.file.getvalue() == (
        "ok   python          3.11\nbad  gpu             [none]\n                     -> buy one\n"
    )
