"""A plug-in of another package that cannot be imported: its package is named, the rest works."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench_cli import bench, refused

from harness.cli.listing import entries

CASES = {
    "no module": ("gone.module:Thing", None, "ModuleNotFoundError"),
    "no class": ("brokenpkg:Thing", "", "AttributeError"),
    "raises": ("brokenpkg:Thing", "1 / 0", "ZeroDivisionError"),
    "syntax": ("brokenpkg.inner:Thing", "def", "SyntaxError"),
}


@pytest.fixture(params=CASES)
def reason(request, tmp_path: Path, monkeypatch) -> str:
    """Install a package with such an entry point; the kind of error that importing it raises."""
    address, source, error = CASES[request.param]
    info = tmp_path / "uda_broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: uda-broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[uda_bench.methods]\nwonky = {address}\n")
    if source is not None:
        (tmp_path / "brokenpkg").mkdir()
        (tmp_path / "brokenpkg" / "__init__.py").write_text(source + "\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "brokenpkg", raising=False)
    return error


def test_it_is_one_line_that_names_the_package(reason):
    for arguments in (["run", "--method", "wonky", "--scenario", "gta2cs"], ["info", "wonky"]):
        line = refused(bench(*arguments))
        assert "method wonky: the package uda-broken" in line
        assert reason in line


def test_the_other_methods_are_listed_beside_it(reason):
    outcome = bench("list", "methods")
    assert outcome.code == 0, outcome.err
    assert "daformer" in outcome.out
    assert "wonky" in entries("methods")


def test_our_own_mistakes_keep_their_traceback(monkeypatch):
    from methods import registry

    monkeypatch.setitem(registry.BUILT_IN, "daformer", "methods.nowhere:Thing")
    with pytest.raises(ModuleNotFoundError):
        registry.load("daformer")
    with pytest.raises(KeyError):
        registry.load("nothing")
