"""The steps of `gpu.py`, in their order."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

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
#: Of runs: a call ends before the usual ten minutes are over. It is no part of a run's id.
KEEP_STATE = "checkpoint_every=1min"
BENCH = [sys.executable, "-c", "from harness.cli.main import main; main()"]
#: A proof of the script's logic on a CPU, not of the figures.
TINY_RUN = (
    "iterations=4", "teacher_iterations=3", "generated.source=6", "generated.target=6",
    "generated.val=2", "image_size.gta5=[96,56]", "image_size.cityscapes=[96,48]", "crop=32,64",
    "rcs_min_pixels=10", "warmup=1", "workers=0",
)  # fmt: skip


@dataclass(frozen=True)
class TimedCase:
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
    case: TimedCase | None = None  # of a timed step


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


def first_cases(tiny: bool) -> list[TimedCase]:
    if tiny:
        return [TimedCase("test_mit", further=further) for further in ("", "channels_last")]
    return [
        TimedCase(student, None, *knobs)
        for student, cases in FIRST_CASES.items()
        for knobs in cases
    ]


def all_cases(tiny: bool) -> list[TimedCase]:
    if tiny:
        return [TimedCase("test_mit", teacher) for teacher in (None, "mini_xs")]
    return [
        TimedCase(student, teacher, precision, choice)
        for student, choice, teacher, precision in product(
            STUDENTS, COMPILED, TEACHERS, ("fp32", "bf16")
        )
    ]


def timing(asked: argparse.Namespace, case: TimedCase) -> Step:
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


def read(out: Path, step: Step) -> dict[str, Any]:
    """What the step left; empty where it has not been tried."""
    path = out / f"{step.name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def figures(out: Path, name: str) -> Path:
    """Where a step writes what it measured."""
    return out / "figures" / f"{name}.json"
