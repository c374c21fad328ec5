"""`bench new-method`: a method that runs, and its test, to be changed into one's own."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from string import Template

from harness.errors import BenchError
from harness.files import write_text
from methods import plug_in, registry

TEMPLATES = Path(__file__).parent / "templates"


def write_method(name: str, folder: Path) -> tuple[Path, Path]:
    """Write NAME.py and test_NAME.py -> their paths. BenchError for a name or file in the way.

    One of the two that an earlier call left when it was killed is not in the way.
    """
    _check_name(name)
    method, test = folder / f"{name}.py", folder / f"test_{name}.py"
    words = {
        "name": name,
        "class_name": "".join(part.capitalize() for part in name.split("_")),
        "title": name.replace("_", " ").capitalize(),
    }
    templates = {method: "method.py.txt", test: "test_method.py.txt"}
    texts = {
        path: Template((TEMPLATES / template).read_text(encoding="utf-8")).substitute(words)
        for path, template in templates.items()
    }
    present = [path for path in texts if path.exists()]
    changed = [path for path in present if path.read_bytes() != texts[path].encode()]
    if changed or len(present) == len(texts):
        raise BenchError(
            f"{(changed or present)[0]} is there already; expected a new name, or another --out."
        )
    for path, text in texts.items():
        write_text(path, text)
    return method, test


def _check_name(name: str) -> None:
    """BenchError unless a file, a class and a run may be called so."""
    if not plug_in.NAME.fullmatch(name) or name != name.lower():
        raise BenchError(
            f"method name {name!r}: expected small letters, digits and _, a letter first, such as "
            "my_method."
        )
    if name in registry.names():
        raise BenchError(f"{name} is a method already: `bench info {name}`; expected a new name.")
    if find_spec(name):
        raise BenchError(f"{name} is a Python module already; expected a new name.")
