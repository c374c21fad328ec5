"""A method in a file of the user's: read once, imported when it is asked for."""

from __future__ import annotations

import ast
import hashlib
import os
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import Distribution, EntryPoint
from importlib.util import find_spec
from pathlib import Path
from threading import get_ident
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple, NoReturn

if TYPE_CHECKING:
    from methods.contract import Method

#: What a method may be called: a file's name and a module's, and nothing that `+` could join.
NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_]*")


@contextmanager
def exits_raise() -> Iterator[None]:
    """Inside, os._exit raises SystemExit, as sys.exit does: nothing else sees a process leave so.

    In this thread of this process alone: forked ones end by it.
    """
    leave, here = os._exit, (os.getpid(), get_ident())

    def leave_or_raise(status: int) -> NoReturn:
        if (os.getpid(), get_ident()) != here:
            leave(status)
        raise SystemExit(status)

    os._exit = leave_or_raise
    try:
        yield
    finally:
        os._exit = leave


class PlugIn(NamedTuple):
    """The file and what was in it: what is hashed is what is run, even if it changes later."""

    path: Path
    source: bytes

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def sha256(self) -> str:
        """Names the code, 16 hex digits."""
        return hashlib.sha256(self.source).hexdigest()[:16]


def read(path: Path) -> PlugIn:
    """Read a file without importing it. ValueError when it can hold no method."""
    if path.suffix != ".py" or not NAME.fullmatch(path.stem):
        raise ValueError(
            f"{path}: a method is called after its file; expected a Python file named with "
            "letters, digits and _, such as my_method.py: rename it"
        )
    if path.exists() and not (path.is_file() or path.is_dir()):  # a FIFO would never be read
        raise ValueError(f"{path} is no regular file; expected a Python file that defines a method")
    try:
        source = path.read_bytes()
    except OSError as error:
        raise ValueError(
            f"{path}: {error.strerror}; expected a Python file that defines a method: "
            "`bench new-method NAME` writes one"
        ) from error
    if b"\0" in source:  # Python itself takes UTF-8 with a mark, and encodings that a file declares
        raise ValueError(
            f"{path} is no Python source in UTF-8 (it holds NUL bytes, as UTF-16 does); save it "
            "again as UTF-8"
        )
    return PlugIn(path, source)


def summary(plug_in: PlugIn) -> str:
    """First line of the file's docstring, or why there is none."""
    try:
        docstring = ast.get_docstring(ast.parse(plug_in.source)) or ""
    except (SyntaxError, ValueError) as error:
        return _broken(plug_in, error)
    return docstring.partition("\n")[0]


@cache
def load(plug_in: PlugIn) -> type[Method]:
    """Import the file, once, and return its method. ValueError where it holds none, or several."""
    from methods.contract import Method

    module = ModuleType(f"plug_in_{plug_in.name}")
    module.__file__ = str(plug_in.path)
    sys.modules[module.__name__] = module  # where pydantic looks up a Config's annotations
    try:
        with exits_raise():
            exec(compile(plug_in.source, module.__file__, "exec"), vars(module))
    except (Exception, SystemExit) as error:  # a script that ends with sys.exit() is no method
        raise ValueError(_broken(plug_in, error)) from error
    classes = [
        value
        for name, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, Method)
        and value.__module__ == module.__name__
        and not name.startswith("_")
    ]
    if len(classes) != 1:
        names = ", ".join(method.__name__ for method in classes) or "none"
        raise ValueError(
            f"{plug_in.path} defines {len(classes)} methods ({names}), expected one class that "
            "inherits from methods.contract.Method; a base class of your own begins with _"
        )
    return classes[0]


def package_sha256(point: EntryPoint) -> str:
    """Names the code of an installed method, 16 hex digits: the Python files of its distribution.

    An editable install has one version whatever becomes of its files. "" where it has no files.
    """
    own = _below_namespaces(point.module)
    digests = {own: _sha256(_imported(own))}
    if package := point.dist:
        for module in _top_level(package) - {own, point.module.partition(".")[0]}:
            digests[module] = _sha256(_installed(module, package) or _imported(module))
    found = {module: digest for module, digest in digests.items() if digest}
    if found.keys() <= {own}:
        return digests[own]
    lines = [f"{module} {digest}\n" for module, digest in sorted(found.items())]
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


def _below_namespaces(module: str) -> str:
    """The package that holds the module; of a namespace, which others share, the part below."""
    parts = module.split(".")
    for count in range(1, len(parts)):
        package = ".".join(parts[:count])
        spec = find_spec(package)
        if spec is None or spec.origin is not None:  # a namespace has no file of its own
            return package
    return ".".join(parts[:-1]) or module


def _top_level(package: Distribution) -> set[str]:
    """The modules that a distribution brings, as it says or as its files do.

    Of an editable install some build tools write neither.
    """
    if said := package.read_text("top_level.txt"):
        return set(said.split())
    modules = {Path(f.parts[0]).stem for f in package.files or () if f.suffix == ".py"}
    return {name for name in modules if name.isidentifier() and "editable" not in name}


def _installed(module: str, package: Distribution) -> tuple[str, ...]:
    """A module's folder or file beside its distribution's; another's may hide a `tests`."""
    places = (str(package.locate_file(name)) for name in (module, f"{module}.py"))
    return tuple(place for place in places if Path(place).exists())[:1]


def _imported(module: str) -> tuple[str, ...]:
    """The folders or the file that importing a module would find."""
    try:
        spec = find_spec(module)
    except ValueError:  # imported without a spec
        return ()
    if spec is None:
        return ()
    return tuple(spec.submodule_search_locations or ()) or (spec.origin or "",)


@cache  # what was imported stays what it was
def _sha256(roots: tuple[str, ...]) -> str:
    """Of a module's file, or of all in a package's folders, each with its place in them."""
    files: dict[str, Path] = {}
    for root in map(Path, roots):
        sources = root.rglob("*.py") if root.is_dir() else [root]
        files |= {path.relative_to(root).as_posix(): path for path in sources if path.is_file()}
    digest = hashlib.sha256()
    for name, path in sorted(files.items()):
        content = path.read_bytes()
        digest.update(f"{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:16] if files else ""


def _broken(plug_in: PlugIn, error: BaseException) -> str:
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == str(plug_in.path)
    ]
    where = f", line {lines[-1]}" if lines else ""
    remedy = "correct the file"
    if isinstance(error, ModuleNotFoundError) and error.name:
        remedy = f"install what brings {error.name.partition('.')[0]}, or correct the file"
    return f"{plug_in.path} cannot be imported ({type(error).__name__}: {error}{where}); {remedy}"
