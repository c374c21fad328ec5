"""A process that measures one case, asked line by line in JSON: the other side of session.py.

It may run with another revision's `harness` and `methods`: what those lack is said.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

#: Of an evaluated label, height and width: Cityscapes' own.
LABEL_SIZE = (1024, 2048)
#: Steps whose peak memory counts; a method's first ones allocate the optimiser's state.
MEMORY_STEPS = 3


class Measurement:
    """A case's networks, and what can be asked of them. Times are in seconds."""

    def __init__(self, task: dict[str, Any]) -> None:
        import torch

        from harness.config.planning import use_plugins
        from harness.measure import memory
        from harness.measure.allocator import keep_freed_blocks
        from harness.runs.speed.cases import SpeedCase
        from harness.training.precision import set_float32

        self.device = torch.device(task["device"])
        self.at: float = task["at"]
        keep_freed_blocks()
        use_plugins(Path(path) for path in task["plugins"])
        if task["networks"]:
            from harness.config.network_files import register

            register(task["networks"])
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device.index or 0)
        self.case = SpeedCase.model_validate(task["case"])
        self.plan = self.case.plan()
        self.profile = self.plan.spec.profile
        if self.profile.threads and self.device.type == "cpu":
            torch.set_num_threads(self.profile.threads)
        set_float32(self.profile.tf32)
        self.memory_before = memory.baseline()
        self.count = 0
        self.labels: Callable[[str], AbstractContextManager] = lambda part: nullcontext()

    def build(self) -> dict[str, Any]:
        """Build the networks, run the first steps -> peak memory, unsupported settings."""
        import torch

        from harness.measure.memory import PeakMemory
        from harness.runs.speed.phases import Phases
        from harness.runs.speed.step import SyntheticStep

        torch.manual_seed(0)  # the same weights and dropout whatever is compared
        self.phases = Phases(self.device, lambda part: self.labels(part))
        with PeakMemory(self.device, baseline=self.memory_before) as peak:
            self.training = SyntheticStep(self.plan, self.device, phases=self.phases)
            for _ in range(MEMORY_STEPS):
                self._step()
        self.phases.read()
        return {
            "unmet": self.training.unmet,
            "precision": self.profile.precision,
            "tf32": self.profile.tf32,
            "threads": torch.get_num_threads(),
            "images": self.profile.batch_size * self.profile.accumulation,
            "memory": {
                "mib": peak.mib,
                "kind": peak.kind,
                "reserved_mib": peak.reserved_mib,
            },
        }

    def steps(self, seconds: float) -> dict[str, Any]:
        """Time steps for so long, after one that is not timed -> mean seconds of each part."""
        import torch

        from harness.measure.clock import synchronise

        self._step()
        synchronise(self.device)
        self.phases.read()
        start = time.perf_counter()
        count = 0
        while not count or time.perf_counter() - start < seconds:
            self._step()
            count += 1
            if count % 8 == 0:  # the host may be far ahead of a GPU
                synchronise(self.device)
        parts: dict[str, float] = {}
        for step in self.phases.read():
            for part, took in step.items():
                parts[part] = parts.get(part, 0.0) + took / count
        if self.device.type == "cuda":
            torch.cuda.empty_cache()  # the next worker's turn
        return {"parts": parts, "steps": count}

    def trace(self, path: str, steps: int = 3) -> dict[str, Any]:
        """Write a Chrome trace of some steps, their parts as labels."""
        from torch.profiler import ProfilerActivity, profile, record_function

        from harness.measure.clock import synchronise

        activities = [ProfilerActivity.CPU]
        if self.device.type == "cuda":
            activities.append(ProfilerActivity.CUDA)
        self.labels = record_function
        with profile(activities=activities) as profiler:
            for _ in range(steps):
                with record_function("step"):
                    self._step()
            synchronise(self.device)
        self.labels = lambda part: nullcontext()
        self.phases.read()
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        profiler.export_chrome_trace(path)
        return {}

    def inference(self, seconds: float) -> dict[str, Any]:
        """The student alone, images as the scenario's target has them."""
        from harness.measure.inference_speed import measure_inference
        from harness.runs.inference import BATCH

        speed = measure_inference(
            self.training.method.student,
            self._image_size(),
            self.device,
            self.profile.precision,
            BATCH,
            seconds=seconds,
        )
        return {
            "images_per_second": speed.images_per_second,
            "batch": speed.batch,
            "latency_ms": speed.latency_ms_p50,
            "latency_ms_p90": speed.latency_ms_p90,
        }

    def evaluation(self, seconds: float) -> dict[str, Any]:
        """Images a second from a network's input to the confusion matrix, one at a time."""
        import torch

        from harness.evaluation.inference import Views
        from harness.evaluation.metrics import evaluate
        from harness.measure.inference_speed import repeat
        from harness.training.precision import autocast

        views = Views.of(self.profile)
        height, width = self._image_size()
        sizes = [(max(round(height * s), 1), max(round(width * s), 1)) for s in views.scales]
        generator = torch.Generator().manual_seed(0)
        images = [torch.randn(1, 3, *size, generator=generator).to(self.device) for size in sizes]
        classes = self.training.method.student.num_classes
        label = torch.randint(classes, (1, *LABEL_SIZE), generator=generator).to(self.device)

        def score() -> object:
            precision = self.profile.precision
            student = self.training.method.student
            batches = [(*images, label)]
            return evaluate(student, batches, lambda: autocast(self.device, precision), views)

        took = repeat(score, self.device, seconds)
        return {
            "images_per_second": [1 / each for each in took],
            "image_size": [height, width],
            "label_size": list(LABEL_SIZE),
        }

    def flops(self) -> dict[str, Any]:
        """10^9 operations of a step, of the eager method without recomputation."""
        from dataclasses import replace

        from harness.measure.flops import counted
        from harness.runs.speed.step import SyntheticStep

        plain = {"compile": "off", "checkpointing": False}
        changed = {k: v for k, v in plain.items() if getattr(self.profile, k, v) != v}
        if changed:
            del self.training
            profile = self.profile.model_copy(update=changed)
            spec = self.plan.spec.model_copy(update={"profile": profile})
            self.training = SyntheticStep(replace(self.plan, spec=spec), self.device)
        return {"gflops": counted(self._step)}

    def peak(self, seconds: float) -> dict[str, float]:
        from harness.runs.speed.peak import peak_rates

        return peak_rates(self.device, self.profile.precision, seconds)

    def _step(self) -> None:
        self.training.run(self.training.number(self.count, self.at))
        self.count += 1

    def _image_size(self) -> tuple[int, int]:
        width, height = self.profile.image_size[self.plan.spec.scenario.target]
        return height, width


def main(path: str) -> None:
    """Answer each line of standard input, until it ends, with one on standard output."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer
    measurement: Measurement | None = None
    for line in sys.stdin:
        question = json.loads(line)
        try:
            if measurement is None:
                measurement = Measurement(json.loads(Path(path).read_text(encoding="utf-8")))
            answer = getattr(measurement, question.pop("do"))(**question)
        except ImportError as error:
            answer = {"error": f"its code lacks what is measured with: {error}"}
        except Exception as error:  # of a plug-in, of a library, out of memory: the user's to see
            text = " ".join(str(error).split())
            answer = {"error": text if _is_ours(error) else f"{type(error).__name__}: {text}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _is_ours(error: Exception) -> bool:
    from harness.errors import BenchError

    return isinstance(error, BenchError)


if __name__ == "__main__":
    main(sys.argv[1])
