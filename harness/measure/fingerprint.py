"""Short hashes of the code and of torch's settings that a run's figures depend on."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.files import content_hash

if TYPE_CHECKING:
    import torch

ROOT = Path(__file__).resolve().parents[2]

#: What can move a score, a speed or a memory figure, relative to ROOT. The command line, tables,
#: records and plug-in tools cannot; the profile's and the data's values are in the run's spec.
CODE = (
    "methods",
    "harness/config",
    "harness/data",
    "harness/training",
    "harness/evaluation",
    "harness/measure",
    "harness/files.py",
    "harness/runs/run.py",
    "harness/runs/teachers.py",
    "harness/runs/training.py",
    "harness/runs/group.py",
    "harness/runs/inference.py",
    "harness/runs/unlabelled.py",
    "harness/weights/find.py",
    "harness/weights/predict.py",
)
#: Of these, what cannot: tests that plug-ins run, what suites multiply out, what only describes.
LEFT_OUT = (
    "methods/testing",
    "harness/config/suites.py",
    "harness/measure/environment.py",
    "harness/measure/fingerprint.py",
)

#: What Python versions store in different ways, or not at all, for the same source.
SKIPPED_FIELDS = {"kind", "type_comment", "type_ignores", "type_params"}


@cache
def code_fingerprint(root: Path = ROOT) -> str | None:
    """Hash of the code below `root` that can move a figure, 10 hex digits; read once a process.

    It is over syntax trees without docstrings: comments and formatting change nothing, and neither
    does the Python version. None where there is no source to read.
    """
    trees = {str(file.relative_to(root).as_posix()): _tree(file) for file in _files(root)}
    return content_hash(trees) if trees else None


def environment_fingerprint(
    device: torch.device | str | None, precision: str, allowed: bool | None = None
) -> dict[str, Any]:
    """What of torch moves figures beside the code, and `fingerprint`, 10 hex digits over it.

    `device` counts by its kind: cpu or cuda; None where it is not known. `allowed` is the TF32
    setting of a run that has yet to set it; None: as it is now.
    """
    from harness.measure.environment import version

    conditions = {
        "torch": version("torch"),
        "device": None if device is None else str(device).partition(":")[0],
        "precision": precision,
        "tf32": tf32() if allowed is None else {"matmul": allowed, "cudnn": allowed},
    }
    return {**conditions, "fingerprint": content_hash(conditions)}


def made_by(device: torch.device | str, precision: str, tf32: bool) -> dict[str, Any]:
    """What must be equal for weights, scores or records to be used again without asking."""
    return {
        "code": code_fingerprint(),
        "environment": environment_fingerprint(device, precision, tf32)["fingerprint"],
    }


def tf32() -> dict[str, bool | None]:
    """Whether a GPU may round float32 to TF32 in matrix products and in cuDNN's convolutions.

    None where torch refuses to tell: its older and newer switches were both used.
    """
    import torch

    def asked(backend: Any) -> bool | None:
        try:
            return bool(backend.allow_tf32)
        except RuntimeError:
            return None

    return {
        "matmul": asked(torch.backends.cuda.matmul),
        "cudnn": asked(torch.backends.cudnn),
    }


def _files(root: Path) -> Iterator[Path]:
    left_out = [root / name for name in LEFT_OUT]
    for name in CODE:
        part = root / name
        for file in sorted(part.rglob("*.py")) if part.is_dir() else [part]:
            if file.is_file() and not any(out in (file, *file.parents) for out in left_out):
                yield file


def _tree(file: Path) -> str:
    """Hash of one file's syntax tree; of its bytes where Python cannot read it."""
    content = file.read_bytes()
    try:
        text = "".join(_spelled(ast.parse(content)))
    except (SyntaxError, ValueError):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _spelled(node: ast.AST) -> Iterable[str]:
    """The tree as text, depth first: what is empty is left out, as Python versions differ in it."""
    parts: list[str] = []
    stack: list[Any] = [node]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            parts.append(item)
            continue
        if _says_nothing(item):
            continue
        parts.append(f"{type(item).__name__}(")
        stack.append(")")
        for name in reversed(item._fields):
            value = getattr(item, name, None)
            if name in SKIPPED_FIELDS:
                continue
            if isinstance(value, ast.AST):
                stack += (value, f" {name}=")
            elif isinstance(value, list):
                stack += (
                    *(v if isinstance(v, ast.AST) else f" {v!r}" for v in reversed(value)),
                    f" {name}:",
                )
            elif value is not None or isinstance(item, ast.Constant):
                parts.append(f" {name}={value!r}")
    return parts


def _says_nothing(node: ast.AST) -> bool:
    """A docstring or another string that stands alone, or `pass`."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    return isinstance(node, ast.Pass)
