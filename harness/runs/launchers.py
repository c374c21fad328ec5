"""Runs in processes of their own: what a sweep starts, and what trains a frozen teacher."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel

import harness
from harness.config.schema import RunSpec

if TYPE_CHECKING:
    from harness.config.planning import Plan


class Task(BaseModel):
    """A resolved run and where it works."""

    spec: RunSpec
    config: dict[str, Any]
    init: Path | None = None
    teacher_init: Literal["imagenet", "imagenet, if found"] | Path | None = None
    plugins: list[Path] = []
    results: Path
    data_root: Path | None = None
    device: str | None = None
    fresh: bool = False
    keep_other_code: bool = False
    side_by_side: int = 1
    own_time: bool = False  # timed by a clock that other work on the machine does not slow

    @classmethod
    def of(cls, plan: Plan, results: Path, **options: Any) -> Task:
        """The task that carries out a plan; files by their whole path."""
        from methods import registry

        roots = (plan.sources.source.root, plan.sources.target.root)
        root = next((root for root in roots if root), None)
        start = plan.teacher_init
        return cls(
            spec=plan.spec,
            config=plan.config.model_dump(mode="json"),
            init=plan.init.resolve() if plan.init else None,
            teacher_init=start.resolve() if isinstance(start, Path) else start,
            plugins=[plug_in.path.resolve() for plug_in in registry.FILES.values()],
            results=results.resolve(),
            data_root=root.resolve() if root else None,
            **options,
        )


def command(task: Path, module: str = "harness.runs.worker") -> list[str]:
    """The command line of a process that carries out the task in a JSON file: `main` of a module.

    `python -m` would put the working folder first on the module path, where a user's own
    `methods/` or `harness/` hides ours. The process gets this one's path instead, without the
    working folder's empty entry, as multiprocessing hands it on. `python -P` would need 3.11.
    """
    path = [entry for entry in sys.path if entry]
    ours = str(Path(harness.__file__).resolve().parents[1])
    start = f"from {module} import main; main(sys.argv[1])"
    code = f"import sys; sys.path[:] = {[*path, ours]!r}; {start}"
    return [sys.executable, "-c", code, str(task)]


def carry_out(task: Task, say: Callable[[str], None], inherit: bool) -> int:
    """Carry out a task in a process of its own -> its exit code.

    `inherit` lets it write to this process's terminal; else `say` is told each line it prints.
    """
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "task.json"
        path.write_text(task.model_dump_json(), encoding="utf-8")
        if inherit:
            return subprocess.run(command(path), check=False).returncode
        with subprocess.Popen(
            command(path), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8"
        ) as process:
            assert process.stdout
            try:
                for line in process.stdout:
                    say(line.rstrip("\n"))
            except BaseException:
                process.terminate()
                raise
        return process.returncode
