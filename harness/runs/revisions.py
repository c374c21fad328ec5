"""Another revision's code: written into a folder, and run without a module of this tree."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from shutil import unpack_archive
from signal import SIGTERM

from harness import processes
from harness.errors import BenchError
from harness.measure.environment import ROOT, git

#: Start of a process with the modules of one tree alone. An editable install would find what that
#: tree lacks in the folder that it was made of.
APART = """
import runpy, sys
sys.path[:] = {path!r}
ours = lambda finder: "harness" in getattr(sys.modules.get(finder.__module__), "MAPPING", ())
sys.meta_path[:] = [finder for finder in sys.meta_path if not ours(finder)]
runpy.run_path({processes!r})["end_with_parent"]({parent}, {number})
"""


def checkout(revision: str, folder: Path, root: Path = ROOT, *, option: str = "--against") -> str:
    """Write a revision's files of the git repository `root` into a folder -> the commit's hash.

    BenchError, which names the option, where `root` is no git checkout, or there is no such
    revision.
    """
    top = git(root, "rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != root.resolve():
        raise BenchError(f"{option}: {root} is not a git checkout; expected uda-bench's own.")
    commit = git(root, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    if commit is None:
        raise BenchError(f"{option} {revision}: no such revision in {root}; see `git log`.")
    folder.mkdir(parents=True)
    archive = folder.with_suffix(".zip")
    if git(root, "archive", "--format=zip", f"--output={archive}", commit) is None:
        raise BenchError(f"{option} {revision}: git archive of {commit} failed in {root}.")
    unpack_archive(archive, folder)
    archive.unlink()
    return commit


def command(tree: Path, code: str, *arguments: str) -> list[str]:
    """The command line of a process that runs `code` with the modules of the folder `tree`.

    It ends when this process does, by SIGTERM: this tree's way, whatever the other's is.
    """
    others = [entry for entry in sys.path if entry and Path(entry).resolve() != ROOT]
    start = APART.format(
        path=[str(tree), *others],
        processes=processes.__file__,
        parent=os.getpid(),
        number=int(SIGTERM),
    )
    return [sys.executable, "-c", start + code, *arguments]
