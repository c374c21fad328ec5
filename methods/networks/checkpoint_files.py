"""Files of weights: read without running anything, or named for what they are instead."""

from __future__ import annotations

import pickle
import re
import tarfile
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

#: How files begin that are no weights -> what they are and what to do.
_OTHER_FILES = {
    b"version https://git-lfs": "is a Git LFS pointer instead of the weights: fetch them with "
    "`git lfs pull`",
    b"\x1f\x8b": "is compressed by gzip: unpack it first",
    b"BZh": "is compressed by bzip2: unpack it first",
    b"\xfd7zXZ": "is compressed by xz: unpack it first",
    b"\x28\xb5\x2f\xfd": "is compressed by Zstandard: unpack it first",
    b"7z\xbc\xaf": "is a 7z archive: unpack it first",
    b"Rar!": "is a RAR archive: unpack it first",
    b"\x89HDF": "is an HDF5 file (Keras): expected weights of torch or safetensors",
    b"\x93NUMPY": "is a NumPy array: expected weights of torch or safetensors",
    b"\x89PNG": "is a PNG image, no weights",
    b"\xff\xd8\xff": "is a JPEG image, no weights",
    b"%PDF": "is a PDF document, no weights",
}
#: What mmengine keeps beside the weights of a training that goes on: histories of losses. None of
#: these is called: what a file makes of them is an object that holds nothing.
_LOG_OF_MMENGINE = (
    "mmengine.logging.history_buffer.HistoryBuffer",
    *(
        f"numpy.{module}.multiarray.{name}"
        for module in ("core", "_core")
        for name in ("_reconstruct", "scalar")
    ),
    *("numpy.ndarray", "numpy.dtype", "builtins.getattr"),
)
_NEITHER = "is neither a safetensors nor a torch file"
#: torch stores without compression; a checkpoint that someone zipped again shrinks by a tenth.
_UNPACKED_OVER_FILE, _UNPACKED_BESIDES = 2, 16 * 2**20


class _Nothing:
    """Takes the place of an object of another library, whatever a file builds it from."""

    def __new__(cls, *arguments: object) -> _Nothing:
        return super().__new__(cls)

    def __init__(self, *arguments: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...


def _inert_types() -> list[Any]:
    """A type that holds nothing by each of those names; torch goes by what a type is called."""
    names = [name.rpartition(".") for name in _LOG_OF_MMENGINE]
    return [type(name, (_Nothing,), {"__module__": module}) for module, _, name in names]


def read_content(path: Path, *, values: bool = True) -> Any:
    """What a file of weights holds: tensors and plain data, by whatever names it gives them.

    Without `values` what torch saved comes as tensors on no device, for names alone: nothing of
    their size is read. Raises ValueError, whose message goes on from the file's name, for any other
    file.
    """
    if not path.is_file():
        raise ValueError(f"is not there: no file {path}")
    with path.open("rb") as file:
        start = file.read(512)
    if problem := _other_file(start):
        raise ValueError(problem)
    try:
        return load_file(path)
    except SafetensorError as error:
        if start[8:9] == b"{" and start[:2] != b"PK":
            raise ValueError(
                f"is a safetensors file that is cut short or broken ({error})"
            ) from None
    # Suffixes say little (.pth, .pt, .bin, .ckpt).
    return _unpickled(path, "cpu" if values else "meta")


def _other_file(start: bytes) -> str | None:
    """What a file with this beginning is, where that is well known and no weights."""
    if not start:
        return "is empty: expected weights of torch or safetensors"
    for magic, problem in _OTHER_FILES.items():
        if start.startswith(magic):
            return problem
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if re.match(rb"<(!doctype|html|head|body|\?xml|!--)", text):
        return "is a web page saved in place of the weights: download the file itself"
    if text[:1] in (b"{", b"["):
        return "is JSON text, no weights: take the file of weights that it speaks of"
    return None


def _unpickled(path: Path, device: str) -> Any:
    if zipfile.is_zipfile(path):
        _refuse_other_archives(path)
    elif tarfile.is_tarfile(path):  # torch before 2.6 runs what is in it, `weights_only` or not
        raise ValueError(
            "is a tar archive, as torch wrote before 2017, and loading that could run any program: "
            "save its state_dict again with a newer torch where you trust it, and load that"
        )
    try:
        with torch.serialization.safe_globals(_inert_types()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of formats that are refused later, by name
            return torch.load(path, map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:
        if foreign := re.search(r"GLOBAL (\S+)", str(error)):
            raise ValueError(
                f"holds {foreign[1]} besides tensors and plain data, and loading that could run "
                "any program: save its state_dict alone where you trust it, and load that"
            ) from None
        raise ValueError(_NEITHER) from None
    except Exception:  # a damaged pickle raises anything
        raise ValueError(_NEITHER) from None


def _refuse_other_archives(path: Path) -> None:
    """Raise ValueError for zip files that torch did not save, or that unpack to far more."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        raise ValueError(f"{_NEITHER}: its archive is cut short or broken") from None
    names = [member.filename for member in members]
    if any(name.endswith("constants.pkl") or "/code/" in name for name in names):
        raise ValueError(
            "is a TorchScript archive, which is a program: save the state_dict of the network "
            "that it was made of, and load that"
        )
    if not any(name.endswith("data.pkl") for name in names):
        held = "NumPy arrays" if any(name.endswith(".npy") for name in names) else "other files"
        raise ValueError(f"is a zip archive of {held}, not one that torch saved: unpack it first")
    unpacked, size = sum(member.file_size for member in members), path.stat().st_size
    if unpacked > _UNPACKED_OVER_FILE * size + _UNPACKED_BESIDES:
        raise ValueError(
            f"unpacks from {size / 2**20:.1f} to {unpacked / 2**20:.0f} MiB, which torch never "
            "writes: save its state_dict again with torch.save where you trust it"
        )
