"""All that needs a GPU, in steps that go on where they stopped: correctness, speed, then runs.

    python benchmarks/speed/gpu.py --out gpu --results gpu/runs
    python benchmarks/speed/gpu.py --out gpu --list
    python benchmarks/speed/gpu.py --out gpu --summary

Call it again until it exits with 0, or 1 where a step failed; 75: there is more to do. It ends
within --budget-minutes. Needs the installed package; what is done lies in --out, a JSON a step.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gpu_plan import Step, plan, read
from gpu_summary import summarise

from harness.files import write_text
from harness.signals import STOPPING
from methods import registry

MORE_TO_DO = 75  # EX_TEMPFAIL of sysexits.h
#: Calls whose whole budget one step may take before it counts as failed, those not counted in which
#: a training of it went on.
LARGEST_CUTS = 3
#: Seconds that a cut step has to end what it started and to keep its training's state; then those
#: that processes which it left have. Both are of the budget, of a short one a tenth in all.
GRACE, REST = 30.0, 5.0


def main() -> None:
    asked = arguments()
    planned = plan(asked)
    if asked.summary:
        print(summarise(planned, asked.out))
        return
    steps = [s for s in planned if not asked.only or s.name.startswith(tuple(asked.only))]
    if not steps:
        sys.exit(f"no step begins with {', '.join(asked.only)}; --list names them")
    if asked.list:
        for step in steps:
            print(f"{read(asked.out, step).get('state', 'to do'):8}{step.name}")
        return
    end_the_step_too()
    code = work(steps, asked.out, 60 * asked.budget_minutes, asked.retry)
    summarise(planned, asked.out)
    sys.exit(code)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("gpu"), help="what each step left")
    parser.add_argument("--results", type=Path, help="records of runs (OUT/runs)")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--budget-minutes", type=float, default=9.0)
    parser.add_argument("--list", action="store_true", help="name the steps, do nothing")
    parser.add_argument("--summary", action="store_true", help="print the summary, do nothing")
    parser.add_argument("--only", action="append", default=[], help="steps that begin like this")
    parser.add_argument("--retry", action="store_true", help="try again what failed")
    parser.add_argument("--methods", default=",".join(registry.names()))
    parser.add_argument("--seeds", default="0,1,2", help="of the runs")
    parser.add_argument("--seconds", type=float, default=8.0, help="of timed steps, each case")
    parser.add_argument("--set", action="append", default=[], help="of the runs: KEY=VALUE")
    parser.add_argument("--tiny", action="store_true", help="smallest networks: try the script")
    asked = parser.parse_args()
    asked.out = asked.out.resolve()
    asked.results = (asked.results or asked.out / "runs").resolve()
    return asked


def end_the_step_too() -> None:
    """From now on a signal, such as a job's time limit sends, ends the step under way first."""
    for number in STOPPING:
        if number != signal.SIGINT and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda *_: sys.exit(MORE_TO_DO))


def work(steps: Sequence[Step], out: Path, budget: float, retry: bool = False) -> int:
    """Carry out steps that are not done until the budget, in seconds, is spent -> exit code."""
    began = time.monotonic()
    share = min(1.0, budget / 10 / (GRACE + REST))
    grace, rest = GRACE * share, REST * share
    finished = 0
    for step in steps:
        state = read(out, step)
        if state.get("state") == "done" or (state.get("state") == "failed" and not retry):
            continue
        left = budget - grace - rest - (time.monotonic() - began)
        if left <= 0 or (finished and longest(steps, out, step.kind) > left):
            return MORE_TO_DO
        print(f"{step.name}: {left:.0f} s left", flush=True)
        start, before = time.monotonic(), reached(step)
        code, last = carry_out(step, out, left, grace, rest)
        outcome: dict[str, Any] = {
            "step": step.name,
            "state": "failed" if code else "done",
            "seconds": round(time.monotonic() - start, 1),
            "command": step.command[1:],
            "last_line": last,
        }
        if code in (None, MORE_TO_DO):
            # Only what had the whole budget to itself tells that it needs more.
            in_vain = not finished and not goes_on(before, reached(step))
            cuts = state.get("cuts", 0) + in_vain
            outcome |= {"state": "failed" if cuts >= LARGEST_CUTS else "cut", "cuts": cuts}
        write_text(out / f"{step.name}.json", json.dumps(outcome, indent=1) + "\n")
        print(f"{step.name}: {outcome['state']} {last}", flush=True)
        if code in (None, MORE_TO_DO):
            return MORE_TO_DO
        finished += 1
    states = {step.name: read(out, step).get("state") for step in steps}
    failed = [name for name, state in states.items() if state == "failed"]
    if failed:
        print(f"failed: {', '.join(failed)}; --retry tries them again")
    return 1 if failed else 0


def reached(step: Step) -> dict[str, float]:
    """Training steps in the newest state of each training; infinite where it has its weights.

    Those of all runs: a step may train a frozen teacher first, and steps go one after the other.
    """
    if step.results is None:
        return {}
    done: dict[str, float] = {}
    for path in (step.results / "artifacts").glob("*/checkpoints/step-*"):
        number = path.name.removeprefix("step-")
        if number.isdecimal():  # others are being written
            training = path.parts[-3]
            done[training] = max(done.get(training, 0), int(number))
    for path in (step.results / "artifacts").glob("*/student.safetensors"):
        done[path.parent.name] = math.inf
    return done


def goes_on(before: dict[str, float], after: dict[str, float]) -> bool:
    """Whether any training is further than it was."""
    return any(steps > before.get(training, 0) for training, steps in after.items())


def carry_out(
    step: Step, out: Path, seconds: float, grace: float = GRACE, rest: float = REST
) -> tuple[int | None, str]:
    """Run a step's command, its output kept -> exit code, None where it was cut; its last line."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / f"{step.name}.log").open("w+", encoding="utf-8", errors="replace") as log:
        process = subprocess.Popen(
            step.command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        code: int | None
        try:
            code = process.wait(timeout=seconds)
        except BaseException as error:
            end(process, grace, rest)
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            code = None
        log.seek(0)
        return code, log.read().strip().rpartition("\n")[2]


def end(process: subprocess.Popen, grace: float, rest: float) -> None:
    """End a process, then those that it left, whose group is its own.

    It is asked alone first: a run ends its workers itself, and keeps its training's state.
    """
    process.terminate()
    try:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=grace)
    finally:  # a further signal to this script ends the wait
        end_group(process, rest)


def end_group(leader: subprocess.Popen, seconds: float) -> None:
    """Ask what is left of a process's group to end, and kill what has not after so many seconds.

    A compiler that is killed at once leaves half a library in torch.compile's cache.
    """
    with contextlib.suppress(ProcessLookupError):  # raised as soon as all of them have ended
        try:
            os.killpg(leader.pid, signal.SIGTERM)
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                leader.poll()  # one that nobody waits for stays in its group
                os.killpg(leader.pid, 0)
                time.sleep(0.05)
        finally:
            os.killpg(leader.pid, signal.SIGKILL)
    leader.wait()


def longest(steps: Sequence[Step], out: Path, kind: str) -> float:
    """Seconds of the longest step of that kind so far, 0 where none is done."""
    states = [read(out, step) for step in steps if step.kind == kind]
    return max((s["seconds"] for s in states if s.get("state") == "done"), default=0.0)


if __name__ == "__main__":
    main()
