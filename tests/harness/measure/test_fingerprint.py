import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.measure import fingerprint

SOURCE = '''"""A method."""

WEIGHT = 0.5


class Config:
    """Its knobs."""

    rate: float = 0.1
    """Of learning."""


def step(x: float, names: dict[str, int]) -> float:
    """One step."""
    pass
    return WEIGHT * x + len({**names, "a": 1})  # halved
'''


def place(tmp_path, name, text):
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def of(tmp_path, text, name="methods/one.py"):
    """The fingerprint of a tree with that one file, not cached."""
    place(tmp_path, name, text)
    return fingerprint.code_fingerprint.__wrapped__(tmp_path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("  # halved", ""),
        ("# halved", "# in two"),
        ('"""One step."""', '"""Another\n\n    text."""'),
        ('    """One step."""\n    pass\n', ""),
        ('    """Of learning."""\n', ""),
        ('"""A method."""', ""),
        ("return WEIGHT * x + len", "return (\n        WEIGHT*x\n    )  +  len"),
        ('"a"', "'a'"),
    ],
)
def test_comments_docstrings_and_formatting_change_nothing(tmp_path, old, new):
    assert old in SOURCE
    assert of(tmp_path, SOURCE.replace(old, new)) == of(tmp_path, SOURCE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0.5", "0.25"),
        ("0.5", "True"),
        ("0.1", "None"),
        ("* x", "/ x"),
        ('WEIGHT * x + len({**names, "a": 1})', 'WEIGHT * (x + len({**names, "a": 1}))'),
        ("float = 0.1", "int = 0.1"),
        ("{**names, ", "{names: 2, "),
        ('"a"', '"b"'),
        ("step", "stride"),
    ],
)
def test_changed_code_is_another_fingerprint(tmp_path, old, new):
    assert old in SOURCE
    assert of(tmp_path, SOURCE.replace(old, new)) != of(tmp_path, SOURCE)


def test_every_part_that_moves_figures_counts_and_no_other(tmp_path):
    before = of(tmp_path, SOURCE)
    for name in ("harness/data/a.py", "methods/networks/b.py", "harness/runs/run.py"):
        after = of(tmp_path, "a = 1", name)
        assert after != before
        before = after
    for name in ("harness/cli/run.py", "harness/report/a.py", "methods/testing/a.py", "a.py"):
        assert of(tmp_path, "a = 1", name) == before
    assert of(tmp_path, "a = = 1", "methods/broken.py") != before


def test_all_that_is_named_exists():
    for name in (*fingerprint.CODE, *fingerprint.LEFT_OUT):
        assert (fingerprint.ROOT / name).exists(), name


def test_no_source_has_no_fingerprint(tmp_path):
    assert fingerprint.code_fingerprint(tmp_path) is None


def test_it_is_the_same_in_every_process_read_once_and_without_torch():
    code = (
        "import sys; from harness.measure.fingerprint import code_fingerprint; "
        "print(code_fingerprint()); assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=fingerprint.ROOT, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert done.stdout.strip() == fingerprint.code_fingerprint()
    start = time.perf_counter()
    fingerprint.code_fingerprint()
    assert time.perf_counter() - start < 0.01


def test_the_environment_counts_the_kind_of_device():
    def short(device, precision="fp32"):
        return fingerprint.environment_fingerprint(device, precision)["fingerprint"]

    assert short("cuda:0") == short("cuda:1") != short("cpu")
    assert short("cpu", "bf16") != short("cpu")
    assert fingerprint.environment_fingerprint(None, "fp32")["device"] is None


#: What the code of a run imports and no figure depends on.
NO_FIGURE = {
    "harness.errors", "harness.locks", "harness.signals", "harness.processes", "harness.text",
    "harness.records.schema", "harness.records.store",
    "harness.report.figures", "harness.report.loggers", "harness.report.outcome",
    "harness.report.progress",
    "harness.runs.launchers", "harness.runs.stage", "harness.runs.workplace",
    "harness.runs.trained", "harness.runs.remaining",
    "harness.weights.checkpoint_classes",
}  # fmt: skip


def test_the_fingerprint_is_of_all_that_a_run_imports():
    """A change of what a figure comes from must not go with figures of before it."""
    left_out = set()
    for name in ("run", "training", "teachers", "group", "unlabelled", "inference"):
        tree = ast.parse((fingerprint.ROOT / f"harness/runs/{name}.py").read_text("utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("harness."):
                found = {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
                modules = {m for m in found if _path(m).is_file()}
                left_out |= {m for m in modules if not _is_counted(_path(m))}
    assert left_out - NO_FIGURE == set()


def _path(module: str) -> Path:
    return fingerprint.ROOT / f"{module.replace('.', '/')}.py"


def _is_counted(path: Path) -> bool:
    return path in set(fingerprint._files(fingerprint.ROOT)) or any(
        path == fingerprint.ROOT / name for name in fingerprint.LEFT_OUT
    )
