"""What a figure depends on beside the spec: the code that made it, and what it ran on."""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

#: Packages of the harness whose code can move a figure; what prints or compares cannot.
PACKAGES = ("config", "data", "evaluation", "training", "measure", "runs")
TOP = Path(__file__).resolve().parents[2]


@cache
def code(top: Path = TOP) -> str:
    """Ten hex digits of the syntax trees of methods/ and of PACKAGES.

    Comments, docstrings and the layout of lines are not in it.
    """
    digest = hashlib.sha256()
    folders = (top / "methods", *(top / "harness" / name for name in PACKAGES))
    for path in sorted(p for folder in folders for p in folder.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            _drop_docstring(node)
        digest.update(path.relative_to(top).as_posix().encode() + ast.dump(tree).encode())
    return digest.hexdigest()[:10]


def _drop_docstring(node: ast.AST) -> None:
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
        node.body = node.body[1:] or [ast.Pass()]


def made_by(device: Any, precision: str) -> dict[str, str]:
    """Fingerprint of the code, version of torch, kind of device and precision."""
    return {
        "code": code(),
        "torch": metadata.version("torch"),
        "device": str(device).partition(":")[0],
        "precision": precision,
    }
