"""What `bench speed` measured, as its JSON file holds it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.errors import BenchError, explain
from harness.files import read_text
from harness.runs.speed.cases import SpeedCase

THIS = "this tree"


class ReportModel(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Spread(ReportModel):
    """Median and quartiles over the rounds."""

    median: float
    q1: float
    q3: float
    rounds: int

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        q1, median, q3 = np.percentile(values, [25, 50, 75])
        return cls(median=float(median), q1=float(q1), q3=float(q3), rounds=len(values))

    def scaled(self, factor: float) -> Spread:
        return Spread(
            median=self.median * factor, q1=self.q1 * factor, q3=self.q3 * factor,
            rounds=self.rounds,
        )  # fmt: skip


class Steps(ReportModel):
    """Training steps: each round's mean a step, then median and quartiles over rounds."""

    images: int = Field(description="source images a step of the optimiser")
    step_ms: Spread
    parts_ms: dict[str, Spread] = Field(description="exclusive times; a step's parts sum to it")
    round_ms: list[float] = Field(description="mean step of each round, in order")
    warm_up_rounds: int
    stable: bool = Field(description="the last two rounds of warm-up agreed to 5 %")

    @property
    def images_per_second(self) -> float:
        return 1e3 * self.images / self.step_ms.median


class Memory(ReportModel):
    """Peak of the first steps, as a run's record has it."""

    mib: float
    kind: str
    reserved_mib: float | None = None


class InferenceTimes(ReportModel):
    images_per_second: float = Field(description="in batches of `batch`")
    batch: int
    latency_ms: float = Field(description="median of a batch of 1")
    latency_ms_p90: float


class EvaluationTimes(ReportModel):
    """A network on an image, its scores at the label's size, arg max, confusion matrix."""

    images_per_second: Spread
    image_size: tuple[int, int]
    label_size: tuple[int, int]


class Result(ReportModel):
    """One case with one revision's code."""

    case: SpeedCase
    code: str = Field(default=THIS, description="revision")
    precision: str = "fp32"
    tf32: bool = False
    threads: int | None = Field(default=None, description="of torch on the CPU")
    error: str = ""
    unmet: list[str] = Field(
        default_factory=list, description="settings that this machine did not support"
    )
    steps: Steps | None = None
    memory: Memory | None = None
    gflops: float | None = Field(default=None, description="of a step, recomputation not counted")
    inference: InferenceTimes | None = None
    evaluation: EvaluationTimes | None = None


class Peak(ReportModel):
    """What the device computes at most, TFLOP/s."""

    precision: str
    tf32: bool
    threads: int | None = None
    matrix: float
    convolution: float


class SpeedReport(ReportModel):
    """All of one call of `bench speed`."""

    format: Literal[1] = 1
    created: str
    commit: str | None = None
    machine: dict[str, Any]
    load: list[float] = Field([], description="1-minute load average before and after")
    seconds: float = Field(description="of timed steps a case")
    at: float = Field(description="share of the schedule at which steps were timed")
    peaks: list[Peak] = []
    results: list[Result] = []

    def peak(self, result: Result) -> Peak | None:
        """The device's rates in a result's precision, by as many threads."""
        asked = (result.precision, result.tf32, result.threads)
        return next((p for p in self.peaks if (p.precision, p.tf32, p.threads) == asked), None)

    def share(self, result: Result, kind: Literal["matrix", "convolution"]) -> float | None:
        """Percent of such a rate that the median step reached."""
        peak = self.peak(result)
        if not peak or not result.gflops or not result.steps:
            return None
        rate = result.gflops / result.steps.step_ms.median  # TFLOP/s
        return 100 * rate / (peak.matrix if kind == "matrix" else peak.convolution)


def read_report(path: Path) -> SpeedReport:
    """A file that `bench speed --json` wrote. BenchError for another."""
    try:
        return SpeedReport.model_validate_json(read_text(path))
    except ValidationError as error:
        raise BenchError(
            f"{path}: {explain(error)}; expected a file that `bench speed --json` wrote."
        ) from error
    except ValueError as error:
        raise BenchError(
            f"{path} {error}; expected a file that `bench speed --json` wrote."
        ) from error
