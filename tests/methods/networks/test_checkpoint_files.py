"""A file that is no weights is named for what it is, in one line, and nothing in it is run."""

from __future__ import annotations

import io
import json
import resource
import sys
import types
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from methods.networks import zoo
from methods.networks.checkpoint_files import read_content
from methods.networks.weights import load_weights


@pytest.fixture(scope="module")
def network():
    return zoo.build("test_mit")


def zipped(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def arrays():
    buffer = io.BytesIO()
    np.savez(buffer, a=np.zeros(3))
    return buffer.getvalue()


def torchscript():
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.ReLU()), buffer)
    return buffer.getvalue()


def torch_file(content):
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


OTHERS = {
    "empty": (b"", "is empty"),
    "lfs": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
        "Git LFS pointer",
    ),
    "page": (b"\n<!DOCTYPE html><html><body>Sign in", "is a web page"),
    "page with a mark": (b"\xef\xbb\xbf<HTML>", "is a web page"),
    "error of a store": (b"<?xml version='1.0'?><Error><Code>AccessDenied", "is a web page"),
    "index": (b'{"metadata": {}, "weight_map": {}}', "is JSON text"),
    "gzip": (b"\x1f\x8b\x08\0", "compressed by gzip"),
    "keras": (b"\x89HDF\r\n\x1a\n", "is an HDF5 file"),
    "photo": (b"\xff\xd8\xff\xe0", "is a JPEG image"),
    "archive": (zipped(**{"weights/student.pth": b"x"}), "is a zip archive of other files"),
    "arrays": (arrays(), "is a zip archive of NumPy arrays"),
    "script": (torchscript(), "is a TorchScript archive"),
    "cut": (torch_file({"a": torch.zeros(99)})[:900], "neither a safetensors nor a torch file"),
    "cut safetensors": ((80).to_bytes(8, "little") + b'{"a":{"dtype":"F32"', "cut short or broken"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_another_file_is_named_for_what_it_is(name, network, tmp_path):
    content, said = OTHERS[name]
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(ValueError, match=rf"^w\.pth .*{said}") as refusal:
        load_weights(network, tmp_path / "w.pth")
    assert "\n" not in str(refusal.value)


def test_an_archive_that_bursts_is_not_unpacked(network, tmp_path):
    """A storage of zeros, deflated to a two-hundredth of its size."""
    with zipfile.ZipFile(tmp_path / "a.pth", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("a/data.pkl", b"")
        with archive.open("a/data/0", "w") as member:
            for _ in range(128):
                member.write(bytes(2**20))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=r"a\.pth unpacks from 0\.\d to 128 MiB"):
        load_weights(network, tmp_path / "a.pth")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024


WEIGHT = "head.conv_seg.weight"
VALUES = {
    "NaN": (lambda v: v.clone().index_fill_(0, torch.tensor(3), torch.nan), r"holds NaN in 16 of"),
    "infinity": (lambda v: v / 0, "holds (NaN|infinity)"),
    "beyond float32": (lambda v: v.double() + 1e300, "holds infinity in 304 of"),
    "integers": (lambda v: v.to(torch.int8), "holds int8, expected floating-point"),
    "sparse": (lambda v: v.to_sparse(), "is sparse"),
    "quantised": (lambda v: torch.quantize_per_tensor(v, 0.1, 0, torch.qint8), "is quantised"),
    "meta": (lambda v: v.to("meta"), "is on no device"),
    "complex": (lambda v: v.to(torch.complex64), "holds complex64"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", VALUES)
def test_values_that_are_no_weights_are_refused_by_name(name, network, tmp_path):
    spoil, said = VALUES[name]
    before = {key: value.clone() for key, value in network.state_dict().items()}
    torch.save(before | {WEIGHT: spoil(before[WEIGHT])}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=rf"w\.pth .*{WEIGHT} {said}"):
        load_weights(network, tmp_path / "w.pth")
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floating_types_are_weights(dtype, network, tmp_path):
    state = {
        k: v.to(dtype) if v.is_floating_point() else v for k, v in network.state_dict().items()
    }
    save_file(state, tmp_path / "w.safetensors")
    load_weights(network, tmp_path / "w.safetensors")


def test_a_view_of_one_value_as_large_as_the_world_is_refused_by_its_shape(network, tmp_path):
    state = network.state_dict() | {WEIGHT: torch.zeros(1).expand(2**40)}
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"head\.conv_seg\.weight \(1099511627776,\)"):
        load_weights(network, tmp_path / "w.pth")


def test_a_header_of_any_length_is_no_allocation(network, tmp_path):
    header = json.dumps({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}})
    content = len(header).to_bytes(8, "little") + header.encode()
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match="cut short or broken"):
        load_weights(network, tmp_path / "w.safetensors")


class HistoryBuffer:
    """Stands for mmengine's: a method and arrays besides plain data."""

    __module__ = "mmengine.logging.history_buffer"

    def __init__(self):
        self.history, self.mean = np.array([0.25, 0.5]), self.current

    def current(self):
        return np.float64(self.history[-1])


def test_training_checkpoint_of_mmengine_is_read_without_its_log(tmp_path, network, monkeypatch):
    module = types.ModuleType("mmengine.logging.history_buffer")
    module.HistoryBuffer = HistoryBuffer
    monkeypatch.setitem(sys.modules, module.__name__, module)
    hub = {
        "log_scalars": {"train/loss": HistoryBuffer(), "lr": np.float64(0.5)},
        "runtime_info": {},
    }
    path = tmp_path / "iter_160000.pth"
    torch.save({"meta": {}, "message_hub": hub, "state_dict": network.state_dict()}, path)
    assert b"HistoryBuffer" in path.read_bytes()
    monkeypatch.setattr(
        HistoryBuffer, "current", lambda self: pytest.fail("something of it was run")
    )
    load_weights(network, path)
    log = read_content(path)["message_hub"]["log_scalars"]
    assert not any(isinstance(value, HistoryBuffer | np.generic) for value in log.values())
    assert {type(value).__name__ for value in log.values()} == {"HistoryBuffer", "scalar"}


class Program:
    def __reduce__(self):
        return getattr, (io.BytesIO, "read")


def test_what_a_file_calls_getattr_is_never_called(tmp_path):
    path = tmp_path / "program.pth"
    torch.save({"state_dict": {"a": torch.zeros(1)}, "b": Program()}, path)
    with pytest.raises(ValueError, match=r"holds _io\.BytesIO besides tensors"):
        read_content(path)


def test_names_alone_are_read_without_values(tmp_path):
    path = tmp_path / "a.pth"
    torch.save({"meta": {"CLASSES": ("road",)}, "state_dict": {"weight": torch.ones(3)}}, path)
    content = read_content(path, values=False)
    assert content["meta"]["CLASSES"] == ("road",)
    assert content["state_dict"]["weight"].is_meta
    assert not read_content(path)["state_dict"]["weight"].is_meta
