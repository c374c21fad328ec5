"""The regression gate: runs of a baseline measured again, and what moved by how much."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.analysis.baseline_speed import schedule_speed, slowest_inference, training_speeds
from harness.config.schema import RunSpec
from harness.errors import BenchError
from harness.records import store
from harness.records.schema import Cost, Inference, Metrics, Record, Training, hardware
from harness.text import markdown_text, plain

HOLDS, REGRESSION, ERROR, NOTHING_MEASURED = 0, 1, 2, 3

#: Times that a run may be measured while its speed alone is off: other work only slows.
TRIES = 5
SPEEDS = ("training speed", "inference speed")
#: What other work on the machine can move: measured again before it counts as a regression.
MEASURED_AGAIN = (*SPEEDS, "peak memory")

#: MiB added to both sides before memory is compared: a figure above a baseline may be near zero.
MEMORY_NOISE_MIB = 32

Verdict = Literal["regressed", "not measured", "improved", "not compared", "holds"]


@dataclass(frozen=True)
class Tolerances:
    """How far a figure may move: quality tightly, cost loosely."""

    miou: float = 0.5  # points
    #: Relative, at the first step, and this much more at each later one, up to `losses_most`.
    #: Measured over 30 steps, one thread against two and AVX-512 against plain kernels: 5e-6.
    losses: float = 1e-4
    losses_most: float = 0.05
    memory: float = 0.15  # relative
    held: float = 1.0  # MiB that tensors may grow more between the first steps and the last
    time: float = 1.5  # factor

    def loss(self, step: int) -> float:
        """Allowed at a step, relative: rounding that differs between processors adds up."""
        return min(self.losses * (1 + step), self.losses_most)


@dataclass(frozen=True)
class Finding:
    """One figure of one run against the baseline's."""

    run: str
    quantity: str
    verdict: Verdict
    detail: str


@dataclass(frozen=True)
class Report:
    findings: list[Finding]

    def of(self, verdict: Verdict) -> list[Finding]:
        return [finding for finding in self.findings if finding.verdict == verdict]

    @property
    def exit_code(self) -> int:
        """0 holds, 1 regression, 3 a run of the baseline was not measured (2 is an error's)."""
        if self.of("regressed"):
            return REGRESSION
        return NOTHING_MEASURED if self.of("not measured") or not self.findings else HOLDS

    def render(self, format: Literal["text", "markdown"] = "text") -> str:
        """A verdict, then what moved, worst first; what holds is only counted."""
        from tabulate import tabulate

        order: list[Verdict] = ["regressed", "not measured", "improved", "not compared"]
        shown = [finding for verdict in order for finding in self.of(verdict)]
        counts = {verdict: len(self.of(verdict)) for verdict in (*order, "holds")}
        summary = ", ".join(f"{n} {verdict}" for verdict, n in counts.items() if n)
        some = len(self.of("not measured")) < len(self.findings)
        missing = "Not all measured" if some else "Nothing measured"
        title = {HOLDS: "The baseline holds", REGRESSION: "Regression"}.get(self.exit_code, missing)
        line = f"{title}: {summary or 'no run'}."
        style = "pipe" if format == "markdown" else "simple"
        harmless = markdown_text if format == "markdown" else plain
        body = tabulate(
            [[harmless(cell) for cell in (f.run, f.quantity, f.verdict, f.detail)] for f in shown],
            ["run", "figure", "verdict", "found"],
            style,
            disable_numparse=True,
        )
        head = f"**{line}**" if format == "markdown" else line
        return f"{head}\n\n{body}\n" if shown else f"{head}\n"


def check(
    baseline_path: Path,
    records_path: Path | None = None,
    runner: Callable[[RunSpec], Record] | None = None,
    tolerances: Tolerances | None = None,
) -> tuple[Report, int]:
    """Hold records against a baseline (a file with one record or a list) -> report, exit code.

    The measured records are read from `records_path`, or made by `runner`, one spec of the
    baseline at a time, and again where it is slow and nothing else. BenchError (exit code 2) for
    a baseline that is missing or broken.
    """
    baseline = slowest_inference(store.read_all(baseline_path))
    if records_path is not None:
        measured = store.read_all(records_path)
    else:
        measured = [_measure(base, runner, tolerances) for base in baseline] if runner else []
    report = compare(baseline, measured, tolerances)
    return report, report.exit_code


def _measure(
    base: Record, runner: Callable[[RunSpec], Record], tolerances: Tolerances | None
) -> Record:
    """Run a baseline's spec; while speed or memory alone regressed, once more: the best counts."""
    tries: list[Record] = []
    while True:
        tries.append(runner(base.spec))
        regressed = compare([base], tries[-1:], tolerances).of("regressed")
        if any(finding.quantity not in MEASURED_AGAIN for finding in regressed):
            return tries[-1]
        fastest = best(tries)
        if len(tries) == TRIES or not compare([base], [fastest], tolerances).of("regressed"):
            return fastest


def best(records: list[Record]) -> Record:
    """The last record with the best speeds and the least peak memory of all: done runs."""
    costs = [record.cost for record in records if record.cost]
    trainings = [cost.training for cost in costs]
    fastest = max(trainings, key=lambda t: schedule_speed(t) or t.images_per_second)
    training = fastest.model_copy(
        update={"memory_mib": min(cost.training.memory_mib for cost in costs)}
    )
    timed = [cost.inference for cost in costs if cost.inference]
    inference = max(timed, key=lambda i: i.images_per_second, default=None)
    cost = costs[-1].model_copy(update={"training": training, "inference": inference})
    return records[-1].model_copy(update={"cost": cost})


def compare(
    baseline: Sequence[Record], measured: Iterable[Record], tolerances: Tolerances | None = None
) -> Report:
    """Compare runs of equal specs; of several measured ones the newest counts.

    BenchError when the baseline holds no run, or one without figures.
    """
    if not baseline:
        raise BenchError("the baseline holds no record; expected at least one done run.")
    newest: dict[str, Record] = {}
    for record in sorted(measured, key=lambda r: (r.created, r.state)):
        newest[_question(record.spec)] = record
    findings: list[Finding] = []
    for base in baseline:
        findings += _compare_run(base, newest.get(_question(base.spec)), tolerances or Tolerances())
    return Report(findings)


def _question(spec: RunSpec) -> str:
    """Names what was asked of a run, whatever a plug-in's code was: that is what may regress.

    By the spec, not the stored id: an id may be older than a field added since.
    """
    return spec.model_copy(update={"plugins": {}}).run_id


def name_of(spec: RunSpec) -> str:
    """A run as the report names it."""
    return (
        f"{spec.method} {spec.student}, {spec.scenario.name}, {spec.profile.name}, seed {spec.seed}"
    )


def _compare_run(base: Record, measured: Record | None, tolerances: Tolerances) -> list[Finding]:
    spec = base.spec
    run = name_of(spec)
    if base.metrics is None or base.cost is None:
        raise BenchError(f"baseline {run}: no figures in it; expected a done run. Record it again.")
    if measured is None:
        return [Finding(run, "run", "not measured", f"no record of run {spec.run_id}")]
    if measured.metrics is None or measured.cost is None:
        return [Finding(run, "run", "regressed", f"failed: {measured.error or 'no figures'}")]
    old, new = base.metrics, measured.metrics
    return [
        _miou(run, "mIoU", old.student.miou, new.student.miou, tolerances.miou),
        *_ema_teacher(run, old, new, tolerances.miou),
        _labels(run, old, new),
        *_losses(run, *_golden(old, new), tolerances),
        *_held(run, old, new, tolerances.held),
        _memory(run, base, measured, tolerances.memory),
        *_speeds(run, base, measured, tolerances.time),
    ]


def _miou(run: str, name: str, old: float, new: float, tolerance: float) -> Finding:
    if math.isnan(old):
        return Finding(run, name, "not compared", f"no number in the baseline, {_number(new)} here")
    if math.isnan(new):
        detail = f"{old:.2f} points in the baseline, no number here (NaN): nothing could be scored"
        return Finding(run, name, "regressed", detail)
    change = new - old
    verdict: Verdict = "holds"
    if change < -tolerance:
        verdict = "regressed"
    elif change > tolerance:
        verdict = "improved"
    return Finding(
        run, name, verdict, f"{old:.2f} -> {new:.2f}, {change:+.2f} points (allowed {tolerance:g})"
    )


def _ema_teacher(run: str, old: Metrics, new: Metrics, tolerance: float) -> list[Finding]:
    """The EMA teacher's mIoU; nothing of a baseline without one."""
    name = "EMA teacher mIoU"
    if not old.ema_teacher:
        return []
    if not new.ema_teacher:
        return [Finding(run, name, "regressed", "the EMA teacher is gone")]
    return [_miou(run, name, old.ema_teacher.miou, new.ema_teacher.miou, tolerance)]


def _number(value: float, form: str = ".2f") -> str:
    """A figure as text, in words where it is none."""
    return "no number (NaN)" if math.isnan(value) else f"{value:{form}}"


def _labels(run: str, old: Metrics, new: Metrics) -> Finding:
    """Pixels that were scored, by label: a property of the data and of what is ignored."""
    before, now = (
        {label: pixels for label, row in enumerate(m.student.confusion) if (pixels := sum(row))}
        for m in (old, new)
    )
    totals = [sum(counts.values()) for counts in (before, now)]
    detail = f"{totals[0]} -> {totals[1]} pixels"
    if before != now and totals[0] == totals[1]:
        detail += ", others by class"
    return Finding(run, "scored labels", "holds" if before == now else "regressed", detail)


Losses = dict[str, dict[int, float]]  # term -> step -> value


def _golden(old: Metrics, new: Metrics) -> tuple[Losses, Losses]:
    """Both runs' losses by step: of the whole schedule where both records hold it."""
    if old.golden and new.golden:
        return (
            {term: dict(values) for term, values in old.golden.losses.items()},
            {term: dict(values) for term, values in new.golden.losses.items()},
        )
    return (
        {term: dict(enumerate(values)) for term, values in old.losses.items()},
        {term: dict(enumerate(values)) for term, values in new.losses.items()},
    )


def _losses(run: str, old: Losses, new: Losses, tolerances: Tolerances) -> list[Finding]:
    """Golden losses: a change either way means that something else is computed."""
    findings = []
    for term, values in old.items():
        if term not in new:
            findings.append(Finding(run, f"loss {term}", "regressed", "the term is gone"))
            continue
        steps = sorted(values.keys() & new[term].keys())
        if not steps:
            findings.append(Finding(run, f"loss {term}", "not compared", "no step in common"))
            continue
        apart = {step: _apart(values[step], new[term][step]) for step in steps}
        off = [step for step in steps if apart[step] > tolerances.loss(step)]
        # The first that is off, as later ones follow from it.
        step = off[0] if off else max(steps, key=lambda s: apart[s] / tolerances.loss(s))
        detail = f"step {step}: {_number(values[step], '.6g')} -> {_number(new[term][step], '.6g')}"
        if math.isfinite(apart[step]):
            detail += f", off by {apart[step]:.2g} (allowed {tolerances.loss(step):.2g})"
        findings.append(Finding(run, f"loss {term}", "regressed" if off else "holds", detail))
    extra = sorted(new.keys() - old.keys())
    return findings + [
        Finding(run, f"loss {term}", "not compared", "a new term, not in the baseline")
        for term in extra
    ]


def _held(run: str, old: Metrics, new: Metrics, allowed: float) -> list[Finding]:
    """Tensors held at the end more than after the first steps: a leak. None in older records."""
    growth = []
    for metrics in (old, new):
        held = metrics.golden.held_mib if metrics.golden else []
        if len(held) < 2:
            return []
        growth.append(held[-1][1] - held[0][1])
    before, now = growth
    verdict: Verdict = "holds"
    if now - before > allowed:
        verdict = "regressed"
    elif before - now > allowed:
        verdict = "improved"
    detail = f"growth {before:.2f} -> {now:.2f} MiB (allowed {allowed:g} more)"
    return [Finding(run, "held tensors", verdict, detail)]


def _apart(old: float, new: float) -> float:
    """Relative difference; infinite where one of the two is not finite."""
    if old == new or (math.isnan(old) and math.isnan(new)):
        return 0.0
    apart = abs(new - old) / max(abs(old), 1e-8)
    return math.inf if math.isnan(apart) else apart


def _memory(run: str, base: Record, measured: Record, tolerance: float) -> Finding:
    assert base.cost is not None
    assert measured.cost is not None
    old, new = base.cost.training, measured.cost.training
    if old.memory_kind != new.memory_kind:
        detail = f"{old.memory_kind} in the baseline, {new.memory_kind} here"
        return Finding(run, "peak memory", "not compared", detail)
    machines = hardware(base), hardware(measured)
    if machines[0] != machines[1]:
        # What the libraries hold, and which kernels they choose, differs with the processor.
        return Finding(run, "peak memory", "not compared", _machines(*machines))
    ratio = (new.memory_mib + MEMORY_NOISE_MIB) / (old.memory_mib + MEMORY_NOISE_MIB)
    return Finding(
        run,
        "peak memory",
        _verdict(ratio, 1 + tolerance),
        f"{old.memory_mib:.0f} -> {new.memory_mib:.0f} MiB, {ratio - 1:+.0%} "
        f"(allowed {tolerance:+.0%})",
    )


def _speeds(run: str, base: Record, measured: Record, factor: float) -> list[Finding]:
    assert base.cost is not None
    assert measured.cost is not None
    old, new = base.cost, measured.cost
    machines = hardware(base), hardware(measured)
    if machines[0] != machines[1]:
        detail = _machines(*machines)
        return [Finding(run, name, "not compared", detail) for name in SPEEDS]
    training, inference = SPEEDS
    speeds = training_speeds(old.training, new.training)
    return [
        _clocks(run, training, old.training, new.training)
        or _speed(run, training, *speeds, factor),
        _clocks(run, inference, old.inference, new.inference)
        or _speed(run, inference, _inference_speed(old), _inference_speed(new), factor),
    ]


def _clocks(
    run: str, name: str, old: Training | Inference | None, new: Training | Inference | None
) -> Finding | None:
    """None where both were timed alike: on a busy machine own time is far the shorter."""
    clocks = [timed.timed_by for timed in (old, new) if timed and timed.timed_by]
    if len(set(clocks)) < 2:
        return None
    detail = (
        f"in the baseline by {clocks[0]}, here by {clocks[1]}; "
        "`bench check --baseline FILE --update` measures the baseline again"
    )
    return Finding(run, name, "not compared", detail)


def _speed(run: str, name: str, before: float | None, now: float | None, factor: float) -> Finding:
    if before is None:
        return Finding(run, name, "not compared", "not measured in the baseline")
    if now is None:
        return Finding(run, name, "regressed", f"{before:.3g} img/s -> not measured")
    return Finding(
        run,
        name,
        _verdict(before / now if now > 0 else math.inf, factor),
        f"{before:.3g} -> {now:.3g} img/s (allowed factor {factor:g})",
    )


def _inference_speed(cost: Cost) -> float | None:
    return cost.inference.images_per_second if cost.inference else None


def _machines(old: str, new: str) -> str:
    return f"{old} in the baseline, {new} here"


def _verdict(cost_ratio: float, allowed: float) -> Verdict:
    if not cost_ratio <= allowed:  # NaN regresses
        return "regressed"
    return "improved" if cost_ratio < 1 / allowed else "holds"
