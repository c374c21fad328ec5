"""Methods of other packages: none replaces another's, each is named by its code's content."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from methods import plug_in, registry

CODE = '''"""Calm: an example (nobody, never)."""

from methods.source_only import SourceOnly


class Calm(SourceOnly):
    """Source-only by another name."""
'''


def install(folder: Path, package: str, points: str, files: dict[str, str]) -> None:
    """A package with these entry points and modules, as an editable install of version 1.0."""
    info = folder / f"{package.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[uda_bench.methods]\n{points}\n")
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder that is on the path; nothing said or hashed before is remembered."""
    monkeypatch.syspath_prepend(tmp_path)
    registry._ignored.cache_clear()
    plug_in._sha256.cache_clear()
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("calm"):
            del sys.modules[name]


def test_a_built_in_method_is_not_replaced(site, caplog):
    install(site, "uda-other", "daformer = calm:Calm\nserene = calm:Calm", {"calm.py": CODE})
    assert registry.load("daformer").__module__ == "methods.daformer"
    assert registry.origins("daformer") == {}
    assert registry.names().count("daformer") == 1
    assert registry.load("serene").__name__ == "Calm"
    (said,) = [record.getMessage() for record in caplog.records]
    assert "the package uda-other offers a method daformer, which is built in: ignored" in said
    assert "\n" not in said


def test_of_two_packages_with_one_name_the_first_is_taken(site, caplog):
    install(site, "uda-b", "serene = calm_b:Calm", {"calm_b.py": CODE})
    install(site, "uda-a", "serene = calm_a:Calm", {"calm_a.py": CODE})
    assert registry.load("serene").__module__ == "calm_a"
    (said,) = [record.getMessage() for record in caplog.records]
    assert "uda-b offers a method serene, which uda-a offers too" in said


def test_changed_code_of_one_version_has_another_origin(site):
    install(
        site,
        "uda-calm",
        "calm = calms.method:Calm",
        {"calms/__init__.py": "", "calms/method.py": CODE},
    )
    (first,) = registry.origins("mic+calm").values()
    assert first.startswith("uda-calm 1.0 ")
    assert len(first.split()[-1]) == 16
    (site / "calms" / "helper.py").write_text("x = 1\n")
    assert registry.origins("calm") == {"calm": first}, "of what is imported, not of the file now"
    origins = {first}
    for text in ("x = 1\n", "x = 2\n"):
        (site / "calms" / "helper.py").write_text(text)
        plug_in._sha256.cache_clear()  # another process
        origins.add(registry.origins("calm")["calm"])
    assert len(origins) == 3


def test_a_module_of_one_file_and_one_that_is_not_there(site):
    install(site, "uda-calm", "calm = calm_one:Calm\ngone = gone:Calm", {"calm_one.py": CODE})
    assert len(registry.origins("calm")["calm"].split()) == 3
    assert registry.origins("gone") == {"gone": "uda-calm 1.0"}


LISTS = {
    "setuptools": {"uda_calm-1.0.dist-info/top_level.txt": "calm_one\ncalm_parts\ncalm_gone\n"},
    "other tools": {
        "uda_calm-1.0.dist-info/RECORD": "calm_one.py,,\ncalm_parts/__init__.py,,\n../bin/x.py,,\n"
        "uda_calm-1.0.dist-info/METADATA,,\n__editable___x_finder.py,,\n"
    },
}


@pytest.mark.parametrize("lists", LISTS.values(), ids=LISTS)
def test_all_modules_of_a_package_name_its_code(site, lists):
    """Two versions of a helper beside the entry point's module were averaged into one row."""
    files = {"calm_one.py": CODE, "calm_parts/__init__.py": "x = 1\n", "calm_others.py": ""}
    install(site, "uda-calm", "calm = calm_one:Calm", files)
    alone = registry.origins("calm")["calm"]
    for name, text in lists.items():
        (site / name).write_text(text)
    origins = {alone}
    for change in ("x = 1\n", "x = 2\n"):
        (site / "calm_parts" / "__init__.py").write_text(change)
        plug_in._sha256.cache_clear()  # another process
        origins.add(registry.origins("calm")["calm"])
    assert len(origins) == 3
    (site / "calm_others.py").write_text("y = 1\n")
    plug_in._sha256.cache_clear()
    assert registry.origins("calm")["calm"] in origins, "another package's"


def test_modules_of_an_editable_install_are_found(site, tmp_path_factory, monkeypatch):
    listed = {"uda_calm-1.0.dist-info/top_level.txt": "calm_one\ncalm_parts\n"}
    install(site, "uda-calm", "calm = calm_one:Calm", listed)
    monkeypatch.syspath_prepend(elsewhere := tmp_path_factory.mktemp("elsewhere"))
    (elsewhere / "calm_one.py").write_text(CODE)
    origins = set()
    for change in ("x = 1\n", "x = 2\n"):
        (elsewhere / "calm_parts.py").write_text(change)
        plug_in._sha256.cache_clear()
        origins.add(registry.origins("calm")["calm"])
    assert len(origins) == 2


@pytest.mark.parametrize("init", ["calm_lab/own/__init__.py", "calm_lab/own/helper.py"])
def test_another_package_of_the_same_namespace_names_no_code(init, site):
    """A package that was installed beside it made other runs of all that were done."""
    files = {init: "", "calm_lab/own/method.py": CODE}
    (site / "calm_lab").mkdir()
    install(site, "uda-calm", "calm = calm_lab.own.method:Calm", files)
    (site / "uda_calm-1.0.dist-info" / "top_level.txt").write_text("calm_lab\n")
    origins = []
    for name in ("calm_lab/other/__init__.py", "calm_lab/own/helper.py"):
        origins.append(registry.origins("calm")["calm"])
        (site / name).parent.mkdir(exist_ok=True)
        (site / name).write_text("x = 1\n")
        plug_in._sha256.cache_clear()  # another process
    origins.append(registry.origins("calm")["calm"])
    assert origins[0] == origins[1] != origins[2]
    assert registry.load("calm").__name__ == "Calm"


def test_a_package_of_one_module_is_named_as_ever(site):
    install(site, "uda-calm", "calm = calm_one:Calm", {"calm_one.py": CODE})
    assert registry.origins("calm") == {"calm": "uda-calm 1.0 12e122b2360dea8d"}
