"""Runs that are killed at any moment and started again, beside one that nobody disturbed.

By hand: PYTHONPATH=.:tests python tests/harness/runs/kills.py [KILLS] [METHOD] [SEED]
"""

from __future__ import annotations

import importlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench_cli import QUICK

from harness.cli.main import main as bench_main
from harness.records import store
from harness.records.schema import Record

#: A state every other step, and a line of the log every step.
SETTINGS = ["iterations=16", "checkpoint_every=2", "log_every=1", "mix_start=0.3"]
#: Seconds that a start may take on a machine that is busy with other tests.
PATIENCE = 600


def command(method: str, results: Path, *settings: str) -> list[str]:
    """The words of `bench run`."""
    options = [part for s in (*SETTINGS, *settings) for part in ("--set", s)]
    return [
        "run", "--method", method, "--scenario", "gta2cs", *QUICK, *options,
        "--results", str(results), "--device", "cpu",
    ]  # fmt: skip


class Process:
    """A command as a fork of this process, which has imported everything: ten times as fast."""

    returncode: int | None = None

    def __init__(self, arguments: list[str], cache: Path, said: Path) -> None:
        self.pid = os.fork()
        if self.pid:
            return
        os.setsid()
        code = 70
        try:
            os.environ["UDA_BENCH_CACHE"] = str(cache)
            with said.open("ab") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            sys.stdout, sys.stderr = (os.fdopen(n, "w", 1, closefd=False) for n in (1, 2))
            sys.argv = ["bench", *arguments]
            bench_main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        finally:
            sys.stdout.flush()
            os._exit(code)

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self, timeout: float = PATIENCE) -> int:
        end = time.monotonic() + timeout
        while (code := self.poll()) is None:
            assert time.monotonic() < end, f"process {self.pid} does not end"
            time.sleep(0.01)
        return code

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def send_signal_to_all(self, number: int) -> None:
        """To its workers too, as a scheduler does."""
        os.killpg(self.pid, number)


def wait_for(process: Process, moment: Callable[[], bool]) -> bool:
    """Wait until the moment has come -> whether it did before the process ended."""
    end = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < end:
        if moment():
            return True
        time.sleep(0.002)
    return False


def lines(results: Path) -> int:
    """Lines in the log of the run that is training now or was last."""
    logs = sorted(results.glob("artifacts/*/log.jsonl"), key=lambda path: path.stat().st_mtime)
    return logs[-1].read_bytes().count(b"\n") if logs else 0


def moments(results: Path, said: Path, draw: random.Random) -> dict[str, Callable[[], bool]]:
    """What can be seen from outside of where a run is, by the name of the stage."""
    line = draw.randrange(1, 16)

    def there(pattern: str) -> Callable[[], bool]:
        return lambda: any(results.glob(pattern))

    return {
        "generation": lambda: b"drawing street" in said.read_bytes(),
        "training": lambda: lines(results) >= line,
        "checkpoint": there("artifacts/*/checkpoints/.*.tmp"),
        "saving": there("artifacts/*/.*.safetensors.*.tmp"),
        "scoring": there("artifacts/*/training.json"),
        "record": there("artifacts/*/scores-*.json"),
        "end": there("records/*.json"),
    }


def figures(record: Record) -> dict[str, Any]:
    """All that an interruption must not move: ids, scores, losses, memory that tensors held."""
    assert record.metrics is not None
    return {
        "run_id": record.run_id,
        "weights_id": record.spec.weights_id,
        "metrics": record.metrics.model_dump(mode="json"),
        "steps": record.cost and record.cost.training.steps,
    }


def finished(process: Process, said: Path) -> None:
    code = process.wait(PATIENCE)
    assert code == 0, f"exit code {code}: {said.read_text()[-2000:]}"


def records(results: Path) -> dict[str, dict[str, Any]]:
    return {r.run_id: figures(r) for r in store.read_all(results / "records")}


def left(results: Path) -> set[str]:
    """Files of a finished run, folders' names left out."""
    return {path.name for path in (results / "artifacts").rglob("*") if path.is_file()}


def import_all() -> None:
    """Import what a run needs, and compute nothing: a fork has one thread only."""
    for name in ("torch._dynamo", "harness.runs.run", "methods.composition"):
        importlib.import_module(name)


def undisturbed(method: str, folder: Path, *settings: str) -> Path:
    results, said = folder / "undisturbed", folder / "undisturbed.txt"
    finished(Process(command(method, results, *settings), folder / "cache", said), said)
    return results


def killed(
    method: str, folder: Path, stage: str, seed: int, cache: Path, *settings: str
) -> tuple[Path, str]:
    """Kill a run once in that stage, then let it end -> its results and what it said."""
    results, said = folder / f"{stage}{seed}", folder / f"{stage}{seed}.txt"
    draw = random.Random(seed)
    arguments = command(method, results, *settings)
    said.touch()
    process = Process(arguments, cache, said)
    if wait_for(process, moments(results, said, draw)[stage]):
        time.sleep(draw.random() * 0.05)
        process.send_signal(signal.SIGKILL)
    process.wait(PATIENCE)
    print(f"{stage}: killed, exit code {process.returncode}, {lines(results)} lines", flush=True)
    finished(Process(arguments, cache, said), said)
    return results, said.read_text()


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    method = sys.argv[2] if len(sys.argv) > 2 else "dacs"
    first = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    import_all()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        expected = undisturbed(method, folder)
        stages = list(moments(folder, folder, random.Random(0)))
        for number in range(first, first + count):
            stage = stages[number % len(stages)]
            cache = folder / (f"cache{number}" if stage == "generation" else "cache")
            results, said = killed(method, folder, stage, number, cache)
            same = records(results) == records(expected) and left(results) == left(expected)
            went_on = [line for line in said.splitlines() if "goes on at step" in line]
            print(f"{number} {stage}: {'same' if same else 'DIFFERENT'} {went_on}", flush=True)
            if not same:
                print(left(results) ^ left(expected), records(results), records(expected))
            shutil.rmtree(results)


if __name__ == "__main__":
    main()
