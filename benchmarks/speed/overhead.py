"""What `bench run` adds to the steps and the loader of a training: its share of their CPU time.

    python benchmarks/speed/overhead.py --method daformer --set iterations=400

What else the training's process spends is the harness: memory and time are measured, losses logged,
progress drawn, states kept. Steps and loader are timed in the thread that trains, so a CPU is
needed, `threads=1` and `workers=0`, as profile tiny has them. Prints a JSON line of the student's
training; a frozen teacher's is another process's. A copy of this file in the checkout of an older
commit, with that on PYTHONPATH, measures that commit.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any

from harness.cli.main import app
from harness.data.loader import TrainLoader
from harness.training import loop
from harness.training.trainer import Trainer

#: CPU seconds of the training: of the process, and of its thread within steps and the loader.
SPENT = {"training": 0.0, "steps": 0.0, "loader": 0.0}


@contextmanager
def timing(part: str, clock: Callable[[], float] = time.thread_time) -> Iterator[None]:
    before = clock()
    try:
        yield
    finally:
        SPENT[part] += clock() - before


def watched(train: Callable[..., Any]) -> Callable[..., Any]:
    """`loop.train` that prints what it took."""

    def timed(method: Any, loader: Any, profile: Any, *given: Any, **named: Any) -> Any:
        SPENT.update(dict.fromkeys(SPENT, 0.0))
        with timing("training", time.process_time):
            losses = train(method, loader, profile, *given, **named)
        inside = SPENT["steps"] + SPENT["loader"]
        told = {"student": method.student.name, "iterations": profile.iterations}
        told |= {f"{part}_cpu_seconds": round(seconds, 6) for part, seconds in SPENT.items()}
        told["overhead_percent"] = round(100 * (SPENT["training"] / inside - 1), 2)
        print(json.dumps(told | {"load": round(os.getloadavg()[0], 1)}), flush=True)
        return losses

    return timed


def step(self: Trainer, *given: Any, whole: Callable[..., Any] = Trainer.step) -> Any:
    with timing("steps"):
        return whole(self, *given)


def batches(
    self: TrainLoader, whole: Callable[..., Iterator[Any]] = TrainLoader.__iter__
) -> Iterator[Any]:
    loader = whole(self)
    while True:
        with timing("loader"):
            batch = next(loader, None)
        if batch is None:
            return
        yield batch


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--method", default="daformer")
    parser.add_argument("--scenario", default="gta2cs")
    parser.add_argument("--student", help="the profile's")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    asked = parser.parse_args()
    loop.train = watched(loop.train)
    Trainer.step = step
    TrainLoader.__iter__ = batches
    command = ["run", "--method", asked.method, "--scenario", asked.scenario, "--device", "cpu"]
    command += ["--student", asked.student] if asked.student else []
    for value in asked.set:
        command += ["--set", value]
    with TemporaryDirectory() as results:
        sys.exit(app([*command, "--results", results], prog_name="bench", standalone_mode=False))


if __name__ == "__main__":
    main()
