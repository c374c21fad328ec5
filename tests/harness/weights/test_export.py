"""`bench export`: the files hold the same network, and say how to use it."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from bench_cli import bench, refused
from cityscapes import CLASSES
from safetensors.torch import load_file
from torch import nn

from harness.errors import BenchError
from harness.weights import export
from methods.contract import Segmentation, Segmentor
from methods.networks import zoo
from methods.networks.weights import load_weights, save_weights

EVERYTHING = ["batch", "height", "width"]


class Stub(Segmentor):
    """One convolution, or what is made of it."""

    name = "stub"

    def __init__(self, change=lambda logits: logits):
        super().__init__()
        self.change = change
        self.conv = nn.Conv2d(3, 19, 4, 4)

    def forward(self, image):
        logits = self.change(self.conv(image))
        return Segmentation(logits, [logits], logits)


@pytest.fixture
def checkpoint(tmp_path):
    """A file of our own that says its network; the norms hold more than 0 and 1."""
    torch.manual_seed(0)
    network = zoo.build("test_mit")
    network.train()(torch.randn(2, 3, 64, 64))
    path = tmp_path / "net.safetensors"
    save_weights(network, path, {"network": "test_mit", "run_id": "0123456789"})
    return path


def test_the_files_hold_the_network(checkpoint, tmp_path):
    out = tmp_path / "new" / "exported"
    outcome = bench("export", "--checkpoint", checkpoint, "--out", out, "--size", "96x64")
    assert outcome.code == 0, outcome.err
    assert {file.name for file in out.iterdir()} == {
        "student.safetensors", "student.json", "student.onnx",
    }  # fmt: skip
    card = json.loads((out / "student.json").read_text())
    assert (card["network"], card["run_id"], card["head_stride"]) == ("test_mit", "0123456789", 4)
    assert [c["name"] for c in card["classes"]] == list(CLASSES)
    car = card["classes"][CLASSES.index("car")]
    assert (car["label_id"], car["colour"]) == (26, [0, 0, 142])
    assert card["size"] == [96, 64]
    assert card["onnx"]["free"] == EVERYTHING
    assert card["onnx"]["smallest_side"] == 32
    assert card["onnx"]["deviation"] < 1e-4
    assert f"{card['onnx']['deviation']:.2g}" in outcome.out
    assert card["versions"]["onnxruntime"]
    # As a stranger would use it: grey levels, the card's statistics, any size.
    network = zoo.build("test_mit").eval()
    load_weights(network, out / "student.safetensors")
    pixels = np.random.default_rng(0).integers(0, 256, (1, 75, 109, 3))
    image = ((pixels - card["mean"]) / card["std"]).transpose(0, 3, 1, 2).astype(np.float32)
    (logits,) = onnxruntime.InferenceSession(out / "student.onnx").run(None, {"image": image})
    with torch.no_grad():
        small = network(torch.from_numpy(image)).logits
        expected = nn.functional.interpolate(small, size=(75, 109), mode="bilinear")
    torch.testing.assert_close(torch.from_numpy(logits), expected, rtol=1e-4, atol=1e-4)


def test_the_exported_weights_are_a_checkpoint_again(checkpoint, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for file, out in ((checkpoint, first), (first / "student.safetensors", second)):
        outcome = bench(
            "export", "--checkpoint", file, "--out", out, "--no-onnx", "--size", "64x64"
        )
        assert outcome.code == 0, outcome.err
        assert f"next: bench predict IMAGES --checkpoint {out / 'student.safetensors'} " in (
            outcome.out
        )
    assert json.loads((second / "student.json").read_text())["run_id"] == "0123456789"
    assert not (second / "student.onnx").exists()
    states = [load_file(folder / "student.safetensors") for folder in (first, second)]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


def no_onnx(checkpoint, out):
    return bench("export", "--checkpoint", checkpoint, "--out", out, "--no-onnx", "--size", "64x64")


def listed(folder):
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*"))


def test_an_export_that_is_killed_between_its_files_leaves_none(checkpoint, tmp_path, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("harness.weights.export.write_text", killed)  # of the card, the last file
    assert no_onnx(checkpoint, tmp_path / "to/exported").code
    assert listed(tmp_path / "to") == []


def test_an_earlier_export_stays_whole_until_the_new_one_is(checkpoint, tmp_path, monkeypatch):
    out = tmp_path / "to/exported"
    assert no_onnx(checkpoint, out).code == 0
    before = {file.name: file.read_bytes() for file in out.iterdir()}

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("harness.weights.export.write_text", full)
        assert "No space left" in refused(no_onnx(checkpoint, out))
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before
    (out / "student.onnx").write_bytes(b"of the earlier export")
    assert no_onnx(checkpoint, out).code == 0
    assert listed(tmp_path / "to") == [
        "exported", "exported/student.json", "exported/student.safetensors",
    ]  # fmt: skip


def test_a_folder_with_other_files_is_not_replaced(checkpoint, tmp_path):
    out = tmp_path / "mine"
    out.mkdir()
    (out / "student.safetensors").write_bytes(b"weights of mine, without a student.json")
    assert "holds student.safetensors" in refused(no_onnx(checkpoint, out))
    (out / "student.safetensors").rename(out / "notes.txt")
    assert "holds notes.txt" in refused(no_onnx(checkpoint, out))
    assert listed(out) == ["notes.txt"]
    (out / "notes.txt").unlink()
    assert no_onnx(checkpoint, out).code == 0, "an empty folder is taken"


def test_a_folder_that_cannot_be_renamed_is_said_so_and_kept(checkpoint, tmp_path, monkeypatch):
    out = tmp_path / "to/exported"
    assert no_onnx(checkpoint, out).code == 0
    rename = Path.rename

    def busy(self, target):
        if target == out and not refusals:
            refusals.append(self)
            raise OSError(errno.EBUSY, "Device or resource busy")
        return rename(self, target)

    refusals = []
    monkeypatch.setattr(Path, "rename", busy)
    assert "Device or resource busy" in refused(no_onnx(checkpoint, out))
    assert listed(tmp_path / "to") == [
        "exported", "exported/student.json", "exported/student.safetensors",
    ]  # fmt: skip


def test_a_published_checkpoint_needs_the_networks_name(checkpoint, tmp_path):
    state = {
        k.replace("encoder.", "backbone.", 1).replace("head.", "decode_head.", 1): v
        for k, v in zoo.build("test_mit").state_dict().items()
    }
    torch.save({"state_dict": state}, tmp_path / "theirs.pth")
    arguments = ["export", "--checkpoint", tmp_path / "theirs.pth", "--out", tmp_path / "out"]
    assert "expected --student NETWORK" in refused(bench(*arguments, "--no-onnx"))
    assert "does not fit test_deeplab" in refused(
        bench(*arguments, "--no-onnx", "--student", "test_deeplab")
    )
    done = bench(*arguments, "--no-onnx", "--student", "test_mit", "--size", "64x64")
    assert done.code == 0, done.err
    assert "MiT encoder" in json.loads((tmp_path / "out/student.json").read_text())["format"]
    assert "WIDTHxHEIGHT" in refused(bench(*arguments, "--student", "test_mit", "--size", "64"))


def test_docs_name_every_field():
    text = (Path(__file__).parents[3] / "docs/records.md").read_text().split("## Export\n")[1]
    assert not [name for name in export.Card.model_fields if f"| `{name}` |" not in text]
    assert not [name for name in export.Onnx.model_fields if f"`{name}`" not in text]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "overrides", "free"),
    [
        ("test_deeplab", {}, EVERYTHING),
        # Padded to multiples of 32, and cropped again.
        ("timm:convnext_atto", {"depths": (1, 1, 1, 1), "head": "topdown"}, EVERYTHING),
        ("timm:vit_tiny_patch16_224", {"depth": 1, "head": "topdown"}, EVERYTHING),
        ("hrda:test_deeplab", {}, ["batch"]),  # its windows follow from the size
    ],
)
def test_every_family_exports_at_a_size_that_does_not_fit(name, overrides, free, tmp_path):
    torch.manual_seed(0)
    network = zoo.build(name, **overrides).eval()
    exported = export.write_onnx(network, tmp_path / "net.onnx", (109, 75))
    assert exported.free == free
    assert exported.deviation < 1e-4


def test_a_network_that_torch_cannot_follow_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "FREE", export.FREE[-1:])
    network = Stub(lambda logits: logits if logits.sum() > 0 else -logits)
    with pytest.raises(BenchError, match=r"stub cannot be written as ONNX .* Give --no-onnx"):
        export.write_onnx(network, tmp_path / "net.onnx", (32, 32))


def test_a_fixed_size_is_said_to_be_fixed(tmp_path):
    network = Stub(lambda logits: logits if logits.shape[2:] == (8, 16) else logits[:, :, :4, :4])
    exported = export.write_onnx(network, tmp_path / "net.onnx", (64, 32))
    assert exported.free == ["batch"]
    assert exported.checked == [(1, 32, 64), (3, 32, 64)]


def test_another_result_in_onnxruntime_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "FREE", export.FREE[-1:])
    monkeypatch.setattr(export, "TOLERANCE", -1.0)
    with pytest.raises(BenchError, match=r"differ from torch's by .* at 1x3x32x32"):
        export.write_onnx(Stub(), tmp_path / "net.onnx", (32, 32))


def test_missing_packages_are_named_before_any_work(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "NEEDED", ("onnx", "no_such_package"))
    line = refused(bench("export", "--checkpoint", checkpoint, "--out", tmp_path / "out"))
    assert "ONNX needs no_such_package" in line
    assert "pip install 'uda-bench[export]'" in line
    assert not (tmp_path / "out").exists()
