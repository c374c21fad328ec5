"""`bench new-method`: a method that runs, and its test, to be changed into one's own."""

from __future__ import annotations

import builtins
import re
from importlib.util import find_spec
from keyword import iskeyword
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
    class_name = "".join(part.capitalize() for part in name.split("_"))
    _check_name(name, class_name)
    method, test = folder / f"{name}.py", folder / f"test_{name}.py"
    words = {
        "name": name,
        "class_name": class_name,
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


def _check_name(name: str, class_name: str) -> None:
    """BenchError unless a file, a class and a run may be called so."""
    if not plug_in.NAME.fullmatch(name) or name != name.lower():
        raise BenchError(
            f"method name {name!r}: expected small letters, digits and _, a letter first, such as "
            "my_method."
        )
    if name in registry.names():
        raise BenchError(f"{name} is a method already: `bench info {name}`; expected a new name.")
    for word in (name, class_name):
        if iskeyword(word) or hasattr(builtins, word):
            raise BenchError(f"method name {name!r}: {word} is Python's own; expected a new name.")
    if class_name in _template_names():
        raise BenchError(
            f"method name {name!r}: its file has another {class_name}; expected a new name."
        )
    if find_spec(name):
        raise BenchError(f"{name} is a Python module already; expected a new name.")


def _template_names() -> set[str]:
    """What the files that are written import and define beside the method's own class."""
    texts = (path.read_text(encoding="utf-8") for path in TEMPLATES.glob("*.py.txt"))
    imports = (line.partition("import ")[2] for text in texts for line in text.splitlines())
    return {"Config", *re.findall(r"\w+", " ".join(imports))}
