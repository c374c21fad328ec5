"""One run in a process of its own: what a sweep starts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel

import harness
from harness.config.schema import RunSpec
from harness.errors import BenchError, in_one_line


class Task(BaseModel):
    """A resolved run and where it works."""

    spec: RunSpec
    config: dict[str, Any]
    init: Path | None = None
    plugins: list[Path] = []
    results: Path
    data_root: Path | None = None
    device: str | None = None


def worker_command(task_path: Path) -> list[str]:
    """The command of a process that carries out the task in a JSON file.

    `python -m` would put the working folder first on the module path, where a user's own
    `methods/` or `harness/` hides ours. The process gets this one's path instead, without the
    working folder's empty entry, as multiprocessing hands it on. `python -P` would need 3.11.
    """
    path = [entry for entry in sys.path if entry]
    ours = str(Path(harness.__file__).resolve().parents[1])
    start = "from harness.runs.worker import main; main(sys.argv[1])"
    code = f"import sys; sys.path[:] = {[*path, ours]!r}; {start}"
    return [sys.executable, "-c", code, str(task_path)]


def main(path: str) -> None:
    """Carry out the task in a JSON file; the record tells what became of it."""
    from rich.console import Console

    from harness.config.planning import replan, use_plugins
    from harness.measure.environment import choose_device
    from harness.report.progress import Reporter
    from harness.runs.run import Workplace, run

    task = Task.model_validate_json(Path(path).read_text(encoding="utf-8"))
    try:
        use_plugins(task.plugins)
        plan = replan(task.spec, task.data_root, task.config, task.init)
        if plan.spec.plugins != task.spec.plugins:
            raise BenchError(
                f"method {task.spec.method}: its code, {task.spec.plugins} when the sweep began, "
                f"is {plan.spec.plugins} now; start the sweep again."
            )
        run(plan, Workplace(task.results, choose_device(task.device), Reporter(Console())))
    except BenchError as error:
        sys.exit(f"bench: {in_one_line(error)}")  # the log's last line


if __name__ == "__main__":
    main(sys.argv[1])
