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
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from harness.files import write_text
from harness.runs.speed.results import Result, read_report
from harness.signals import STOPPING
from methods import registry

MORE_TO_DO = 75  # EX_TEMPFAIL of sysexits.h
STUDENTS = ("daformer_mitb0", "daformer_mitb2", "daformer_mitb5", "deeplabv2_r101")
TEACHERS = (None, "daformer_mitb2", "daformer_mitb5")
COMPILED = ("off", "default")
#: What the issues ask for first comes first: these methods' correctness, these cases of these
#: students alone, this run of each of these methods.
FIRST_CHECKS = ("daformer", "dualkd")
FIRST_CASES = {
    "daformer_mitb5": (
        ("fp32", "off", ""), ("bf16", "off", ""), ("bf16", "default", ""),
        ("bf16", "off", "channels_last"), ("bf16", "cudagraphs", ""), ("fp32", "off", "tf32"),
    ),
    "deeplabv2_r101": (
        ("fp32", "off", ""), ("bf16", "off", ""), ("bf16", "default", ""),
        ("bf16", "off", "channels_last"),
    ),
}  # fmt: skip
FIRST_RUNS = ("dualkd", "source_only", "daformer")
#: Of profile paper, what its 40,000 steps may take, and of the reference's eager fp32.
STEPS, GOALS = 40_000, {"minutes": 40, "times_as_fast": 4, "memory_share": 0.5}
#: Calls whose whole budget one step may take before it counts as failed, those not counted in which
#: a training of it went on.
LARGEST_CUTS = 3
#: Of runs: a call ends before the usual ten minutes are over. It is no part of a run's id.
KEEP_STATE = "checkpoint_every=1min"
#: Seconds that a cut step has to end what it started and to keep its training's state; then those
#: that processes which it left have. Both are of the budget, of a short one a tenth in all.
GRACE, REST = 30.0, 5.0
BENCH = [sys.executable, "-c", "from harness.cli.main import main; main()"]
#: A proof of the script's logic on a CPU, not of the figures.
TINY_RUN = (
    "iterations=4", "teacher_iterations=3", "generated.source=6", "generated.target=6",
    "generated.val=2", "image_size.gta5=[96,56]", "image_size.cityscapes=[96,48]", "crop=32,64",
    "rcs_min_pixels=10", "warmup=1", "workers=0",
)  # fmt: skip


@dataclass(frozen=True)
class SpeedCase:
    """What one `bench speed` times: networks, and knobs beside the profile's."""

    student: str
    teacher: str | None = None
    precision: str = "fp32"
    compile: str = "off"
    further: str = ""  # a knob that is on

    @property
    def name(self) -> str:
        further = f"-{self.further}" if self.further else ""
        networks = f"{self.student}-{self.teacher or 'alone'}"
        return f"speed-{networks}-{self.precision}-compile_{self.compile}{further}"


@dataclass(frozen=True)
class Step:
    """A command that ends well within the budget; those of one kind take about as long."""

    name: str
    kind: str
    command: list[str]
    results: Path | None = None  # of a run: where its trainings keep their states
    case: SpeedCase | None = None  # of a timed step


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


def plan(asked: argparse.Namespace) -> list[Step]:
    """Every step once: what is asked first, then the rest of each kind, the short ones first."""
    methods, seeds = asked.methods.split(","), asked.seeds.split(",")
    first_checks = [method for method in FIRST_CHECKS if method in methods]
    compiled = () if asked.tiny else first_checks
    steps = [
        *(check(asked, method) for method in first_checks),
        *(timing(asked, case) for case in first_cases(asked.tiny)),
        *(run(asked, method, seeds[0]) for method in FIRST_RUNS if method in methods),
        *(check(asked, method, compiled=True) for method in compiled),
        *(check(asked, method) for method in methods),
        *(timing(asked, case) for case in all_cases(asked.tiny)),
        *(run(asked, method, seed) for seed in seeds for method in methods),
    ]
    return list({step.name: step for step in steps}.values())


def check(asked: argparse.Namespace, method: str, compiled: bool = False) -> Step:
    """Whether the device computes what a CPU does."""
    name = f"correctness-{method}" + "-compiled" * compiled
    command = [sys.executable, str(Path(__file__).parent / "correctness.py"), "--method", method]
    command += ["--student", "test_mit" if asked.tiny else "daformer_mitb0"]
    command += ["--set", "crop=96,192" if asked.tiny else "crop=128,256"]
    if compiled:  # each precision is compiled anew
        command += ["--set", "compile=default", "--precision", "fp32,bf16"]
    command += ["--device", asked.device, "--json", str(figures(asked.out, name))]
    return Step(name, "correctness" + " compiled" * compiled, command)


def first_cases(tiny: bool) -> list[SpeedCase]:
    if tiny:
        return [SpeedCase("test_mit", further=further) for further in ("", "channels_last")]
    return [
        SpeedCase(student, None, *knobs)
        for student, cases in FIRST_CASES.items()
        for knobs in cases
    ]


def all_cases(tiny: bool) -> list[SpeedCase]:
    if tiny:
        return [SpeedCase("test_mit", teacher) for teacher in (None, "mini_xs")]
    return [
        SpeedCase(student, teacher, precision, choice)
        for student, choice, teacher, precision in product(
            STUDENTS, COMPILED, TEACHERS, ("fp32", "bf16")
        )
    ]


def timing(asked: argparse.Namespace, case: SpeedCase) -> Step:
    """How long a training step takes; eager with the profile's knobs, inference too."""
    method = ["dualkd", "--teacher", case.teacher] if case.teacher else ["daformer"]
    command = [*BENCH, "speed", "--method", *method, "--student", case.student]
    command += (
        ["--profile", "tiny", "--set", "crop=32,64"] if asked.tiny else ["--profile", "paper"]
    )
    command += ["--precision", case.precision, "--set", f"compile={case.compile}"]
    command += ["--set", f"{case.further}=true"] if case.further else []
    compiled = case.compile != "off"
    if compiled or case.further:  # inference would be compiled twice more, for its own sizes
        command += ["--only-steps"]
    command += ["--seconds", str(asked.seconds), "--device", asked.device]
    command += ["--json", str(figures(asked.out, case.name))]
    return Step(case.name, "speed" + " compiled" * compiled, command, case=case)


def run(asked: argparse.Namespace, method: str, seed: str) -> Step:
    """A whole run, whose record goes to the results."""
    command = [*BENCH, "run", "--method", method, "--scenario", "gta2cs", "--seed", seed]
    command += ["--profile", "tiny" if asked.tiny else "small"]
    command += ["--student", "test_mit"] * asked.tiny
    for setting in (KEEP_STATE, *(TINY_RUN if asked.tiny else ()), *asked.set):
        command += ["--set", setting]
    command += ["--device", asked.device, "--results", str(asked.results)]
    return Step(f"run-{method}-s{seed}", "run", command, asked.results)


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


def read(out: Path, step: Step) -> dict[str, Any]:
    """What the step left; empty where it has not been tried."""
    path = out / f"{step.name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def figures(out: Path, name: str) -> Path:
    """Where a step writes what it measured."""
    return out / "figures" / f"{name}.json"


def summarise(steps: Sequence[Step], out: Path) -> str:
    """Write what the first student's steps alone took, as JSON and as a table -> the table."""
    states = {step.name: read(out, step).get("state", "to do") for step in steps}
    student = next(step.case.student for step in steps if step.case)
    timed = [s.case for s in steps if s.case and states[s.name] == "done"]
    cases = [case for case in timed if case.student == student and not case.teacher]
    reports = {case: read_report(figures(out, case.name)) for case in cases}
    rows = compared({case: report.results[0] for case, report in reports.items()})
    summary = {
        "student": student,
        "devices": sorted({report.machine["device"] for report in reports.values()}),
        "steps": STEPS,
        "goals": GOALS,
        "reference": "not run",
        "rows": rows,
        "states": {state: [n for n in states if states[n] == state] for state in states.values()},
    }
    table = in_markdown(summary)
    write_text(out / "summary.json", json.dumps(summary, indent=1) + "\n")
    write_text(out / "summary.md", table)
    return table


def compared(results: dict[SpeedCase, Result]) -> list[dict[str, Any]]:
    """A row a case: its figures, and their ratios to eager fp32, None where that is not there."""
    base = next((result for case, result in results.items() if is_base(case)), None)
    rows = []
    for case, result in results.items():
        assert result.steps, "a step that is done was measured"
        assert result.memory
        time_ms = result.steps.step_ms
        row = {
            "precision": case.precision,
            "compile": case.compile,
            "further": case.further,
            "step_ms": time_ms.median,
            "quartiles": [time_ms.q1, time_ms.q3],
            "peak_mib": result.memory.mib,
            "minutes": time_ms.median * STEPS / 60_000,
            "times_as_fast": None,
            "memory_share": None,
            "unmet": result.unmet,
        }
        if base and base.steps and base.memory:
            row["times_as_fast"] = base.steps.step_ms.median / time_ms.median
            row["memory_share"] = result.memory.mib / base.memory.mib
        rows.append(row)
    return rows


def is_base(case: SpeedCase) -> bool:
    return (case.precision, case.compile, case.further) == ("fp32", "off", "")


def in_markdown(summary: dict[str, Any]) -> str:
    """The rows as a table, with what their goals mean."""
    device = ", ".join(summary["devices"]) or "nothing measured yet"
    goals = summary["goals"]
    lines = [
        f"# `daformer`, {summary['student']}: {device}",
        "",
        "Goals are of MiT-B5 with profile `paper`: 40,000 steps in 40 minutes, and 4 times as fast "
        "as the reference's order of work in eager fp32, in half of its memory. The reference "
        "itself was not run: ratios are to this code in eager fp32. Steps alone, without loader "
        "and scores.",
        "",
        f"| precision | compile | further | ms a step (quartiles) | peak MiB | {STEPS:,} steps, "
        f"minutes (goal {goals['minutes']}) | times as fast (goal {goals['times_as_fast']}) "
        f"| of the memory (goal {goals['memory_share']}) | not supported here |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in summary["rows"]:
        low, high = row["quartiles"]
        cells = [
            row["precision"],
            row["compile"],
            row["further"],
            f"{row['step_ms']:.1f} ({low:.1f} to {high:.1f})",
            f"{row['peak_mib']:,.0f}",
            f"{row['minutes']:.1f}",
            *(f"{row[k]:.2f}" if row[k] else "" for k in ("times_as_fast", "memory_share")),
            "; ".join(row["unmet"]),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    counts = ", ".join(f"{len(names)} {state}" for state, names in summary["states"].items())
    lines += ["", f"Steps of the script: {counts}."]
    if failed := summary["states"].get("failed"):
        lines.append(f"Failed: {', '.join(failed)}.")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
