"""Where a run works, and the records that it leaves there."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

import torch

from harness.config.planning import Plan
from harness.config.schema import RunSpec
from harness.errors import BenchError, in_one_line, without_folders
from harness.files import check_output_folder
from harness.measure import environment, fingerprint
from harness.measure.clock import Clock
from harness.records import store
from harness.records.schema import Curve, Record, SecondSplit
from harness.report.loggers import Logging
from harness.report.progress import Reporter
from harness.signals import Stop


def check_results(results: Path) -> None:
    """BenchError, before any work, unless the folder takes what runs leave, records last of all."""
    for folder in (results, results / "records", results / "artifacts"):
        check_output_folder("--results", folder)


@dataclass(frozen=True)
class Workplace:
    """Where a run works and what it tells: results folder, device, reporter."""

    results: Path
    device: torch.device
    report: Reporter
    keep_other_code: bool = False  # use weights that other code or another torch made
    fresh: bool = False  # --fresh: train again what is trained
    side_by_side: int = 1  # runs that a sweep has going at a time
    logging: Logging = field(default_factory=Logging)  # other programs that watch
    #: Measures the speeds; `bench check` has one that a busy machine does not slow.
    clock: Clock = time.perf_counter
    role: str = "student"  # of the run's own network in the run that was asked for
    steps_after: int = 0  # training steps of that run that follow this one's
    stop: Stop = field(default_factory=Stop)  # whether a signal has asked for it

    def weights(self, weights_id: str) -> Path:
        """Folder of a trained network: its weights, training.json, run.json, log.jsonl."""
        return self.results / "artifacts" / weights_id

    def made_by(self, plan: Plan) -> dict[str, Any]:
        """What a figure depends on beside the spec: the code, and what it runs on."""
        profile = plan.spec.profile
        return fingerprint.made_by(self.device, profile.precision, profile.tf32)


def record_of(
    plan: Plan, workplace: Workplace, state: Literal["done", "failed"] = "done"
) -> Record | None:
    """The record of a plan in the results folder, None where there is none in that state."""
    ending = ".failed.json" if state == "failed" else ".json"
    for path in (workplace.results / "records").glob(f"*-{plan.spec.run_id}{ending}"):
        try:
            return store.read(path)
        except BenchError as error:  # cut short by a full disk: it is no record
            workplace.report.say(f"skipped {in_one_line(error)}")
    return None


def is_current(record: Record, plan: Plan, workplace: Workplace) -> bool:
    """Whether this code, torch and kind of device made the record, and it holds what is asked."""
    kept = record.provenance
    made_by = {name: kept.get(name, {}).get("fingerprint") for name in ("code", "environment")}
    return holds_what_is_asked(record, plan) and made_by == workplace.made_by(plan)


def holds_what_is_asked(record: Record, plan: Plan) -> bool:
    """Whether it holds the scores that rename no run: while training, and of a second split."""
    curve = record.metrics.curve if record.metrics else None
    second = record.metrics.second if record.metrics else None
    return has_curve(curve, record.run_id, plan.spec) and has_second(second, plan)


def has_second(second: SecondSplit | None, plan: Plan) -> bool:
    """Whether scores of the scenario's second split are there, where it has one with files."""
    split = plan.sources.target.splits.get("second")
    return split is None or (second is not None and second.split == split)


def has_curve(curve: Curve | None, run_id: str, spec: RunSpec) -> bool:
    """Whether what a run left of its training holds the scores that `score_every` asks for."""
    return not spec.profile.score_every or (curve is not None and run_id == spec.run_id)


def failed_record(plan: Plan, error: str, workplace: Workplace) -> Record:
    """The record of a run that came to nothing; no folder's name leaves the machine with it."""
    return new_record(plan, "failed", workplace, error=without_folders(error))


def _without_folders(spec: RunSpec) -> RunSpec:
    """The same, where the user's own data sets lie left out: a record names no folder."""
    datasets = {
        name: described.model_copy(update={"folder": None})
        for name, described in spec.scenario.datasets.items()
    }
    scenario = spec.scenario.model_copy(update={"datasets": datasets})
    return spec.model_copy(update={"scenario": scenario})


def new_record(
    plan: Plan, state: Literal["done", "failed"], workplace: Workplace, **parts: Any
) -> Record:
    """A record of the plan with the scores and cost in `parts`, and what it ran on."""
    return Record(
        run_id=plan.spec.run_id,
        state=state,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        spec=_without_folders(plan.spec),
        provenance=environment.collect(
            workplace.device, plan.spec.profile.precision, workplace.side_by_side
        ),
        **parts,
    )
