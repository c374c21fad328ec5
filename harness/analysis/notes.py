"""What stands under a table: what a reader has to know before believing its figures. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

from harness.analysis.rows import BASELINE, ENOUGH_SEEDS, Row, commonest_student, row_names
from harness.analysis.statistics import (
    PAIRED_FROM,
    POOLED_FROM,
    Deviations,
    Difference,
    Noise,
    smallest_difference,
)
from harness.analysis.variants import (
    is_trained,
    networks,
    shown,
    spelled,
    start_names,
    usual,
    usual_starts,
)
from harness.records.schema import Record, hardware, unlabelled


def shared_lines(records: Sequence[Record], rows: Sequence[Row]) -> list[str]:
    """What stands above a table, once: what its rows share, so that none has to name it."""
    if not rows:
        return []
    several = len({row.student for row in rows}) > 1
    which = f"Student {commonest_student(rows)}{' where a row names no other' if several else ''}"
    return [f"{which}, {_at_which_step(records)}.", *_start_weights(records)]


def table_notes(
    records: Sequence[Record], rows: Sequence[Row], shared: Deviations | None, repeated: int
) -> list[str]:
    """What a reader has to know before believing the figures."""
    notes = []
    for method in dict.fromkeys(row.method for row in rows):
        common = {
            name: shown(name, value)
            for name, value in usual(r for r in records if r.spec.method == method).items()
        }
        if common:
            notes.append(f"{method}, where its row does not say otherwise: {spelled(common)}.")
    named = list(zip(row_names(rows), rows, strict=True))
    if unscored := all(map(unlabelled, records)) and bool(rows):
        notes.append(
            "The target has no labels to score on: predictions are the result. --columns "
            "method,entropy,infomax,snd,agreement shows figures that need none."
        )
    broken = [name for name, row in named if not all(map(math.isfinite, row.scores))]
    if broken and not unscored:
        notes.append(
            f"Warning: a run of {', '.join(broken)} has an mIoU that is no number (NaN or "
            "infinity), so that the row has none; run it again."
        )
    few = [f"{name} ({row.miou.n})" for name, row in named if row.miou.n < ENOUGH_SEEDS]
    if few and not unscored:
        which = "every row" if len(few) == len(rows) > 3 else ", ".join(few)
        notes.append(
            f"Warning: n < {ENOUGH_SEEDS} for {which}: too few seeds to tell a gain "
            "from chance; run seeds 0, 1, 2."
        )
    gains = [gain for row in rows for gain in (row.gain, row.gain_at_seconds) if gain]
    notes += _length_notes(rows) + gain_notes(gains, shared)
    if repeated:
        notes.append(f"Older records of the same runs, left out: {repeated}.")
    return notes + _measurement_notes(records)


def _at_which_step(records: Sequence[Record]) -> str:
    rules = {record.metrics.selection for record in records if record.metrics}
    if rules <= {"last"}:
        return "at the last iteration"
    chosen = f"at the step that {' and '.join(sorted(rules))} chooses"
    return chosen + (" by target labels: a bound, no result" if "oracle" in rules else "")


def _start_weights(records: Sequence[Record]) -> list[str]:
    """What each network's encoder starts from, where one starts from weights or is meant to."""
    names, usual_of = start_names(records), usual_starts(records)
    starts: dict[str, set[str | None]] = defaultdict(set)
    for record in records:
        for network in networks(record):
            if is_trained(network):
                starts[network["network"]].add(network.get("init"))
    wanted = any(record.spec.profile.wants_init for record in records)
    if not wanted and all(start == {None} for start in starts.values()):
        return []

    def named(start: str | None) -> str:
        file = names.get(start or "")
        return f"{shown('init', start)} ({file})" if file else str(shown("init", start))

    by_network = []
    for name, used in sorted(starts.items()):
        said = sorted(named(start) for start in used if usual_of.get(name, "") != start)
        if name in usual_of and said:
            said[0] += " where a row says so"
        unsaid = [named(usual_of[name])] if name in usual_of else []
        by_network.append(f"{name}: {' or '.join(unsaid + said)}")
    return [f"Weights that encoders start from: {'; '.join(by_network)}."]


def _length_notes(rows: Sequence[Row]) -> list[str]:
    """What schedules of several lengths mean for the gains."""
    lengths = sorted({row.length for row in rows})
    if len(lengths) < 2:
        return []
    notes = ["xN: the schedule N times as long as the profile's, its frozen teacher's too."]
    if any(row.gain_at_seconds for row in rows):
        notes.append(
            f"gain at equal seconds: over {BASELINE} trained for as long, the frozen teacher's "
            f"training included, by {BASELINE}'s own schedules, linear in the logarithm of seconds "
            "between them; seconds are medians over runs, of one machine. beyond xN: the method "
            f"trained for longer than {BASELINE} xN, which it is held against."
        )
    notes += _without_equal_seconds(rows)
    by_name: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.gain or row.gain_at_seconds:
            by_name[f"{row.name}, {row.student}, {row.teachers}"].append(row)
    if any(len(each) > 1 for each in by_name.values()):
        once = [each[0].label for each in by_name.values() if len(each) == 1]
        alone = f" Run at one length only, which tells nothing of others: {', '.join(once)}."
        notes.append(
            "A method of several lengths is beyond chance where it is so at each of them."
            + (alone if once else "")
        )
    return notes


def _without_equal_seconds(rows: Sequence[Row]) -> list[str]:
    """Rows whose seconds are those of a machine that ran no source-only."""
    timed: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.method == BASELINE and row.seconds_on:
            timed[row.student].append(row)
    elsewhere = [
        row
        for row in rows
        if row.method != BASELINE
        and row.seconds_on
        and len(timed[row.student]) > 1
        and not any(row.seconds_on.keys() & floor.seconds_on.keys() for floor in timed[row.student])
    ]
    if not elsewhere:
        return []
    machines = sorted({machine for row in elsewhere for machine in row.seconds_on})
    return [
        f"gain at equal seconds: not known of {', '.join(row.label for row in elsewhere)}, "
        f"run on {', '.join(machines)}, where no {BASELINE} ran; run one of any length there."
    ]


def gain_notes(gains: Sequence[Difference], shared: Deviations | None) -> list[str]:
    """How a table's gains were tested, and what its seeds can see at all."""
    if not gains:
        return []
    notes = [f"gain: points over {BASELINE} with the same student, mean over seeds."]
    tests = sorted({gain.test for gain in gains if gain.test})
    if tests and shared:
        how = {
            "pooled t": _pooled(shared),
            "Welch t": f"Welch's t-test: fewer than {POOLED_FROM} rows to pool, or {PAIRED_FROM} "
            "seeds and more that differ",
            "paired t": "t-test paired over seeds",
        }
        said = "; ".join(how[test] for test in tests)
        notes.append(f"[low, high] is the 95 % interval of that row alone, over seeds; {said}.")
    tested = [gain for gain in gains if math.isfinite(gain.p_holm)]
    if tested and shared:
        n, count = min(gain.n for gain in tested), len(tested)
        smallest = smallest_difference(shared.methods, shared.baseline, n, count)
        lengths = (
            "at that length or at another of the method's, "
            if any(gain.told_here and not gain.lasts for gain in tested)
            else ""
        )
        notes.append(
            f"~ cannot be told from chance: p >= 0.05, {lengths}corrected over {count} "
            f"comparison{'s' if count > 1 else ''} (Holm). n = {n} finds a true difference of "
            f"{smallest:.1f} points with 80 % power."
        )
    if any(math.isfinite(gain.low) and not gain.tested for gain in gains):
        notes.append(f"~ where n < {ENOUGH_SEEDS}: too few seeds to test.")
    return notes


def _pooled(shared: Deviations) -> str:
    """The deviation of a run that gains were tested with."""
    if shared.baseline is shared.methods:
        return f"t-test with one deviation of a run, {_spelled_noise(shared.methods)}"
    return (
        f"t-test with the deviation of a run of {BASELINE}, {_spelled_noise(shared.baseline)}, "
        f"and that of the methods, {_spelled_noise(shared.methods)}"
    )


def _spelled_noise(of: Noise) -> str:
    return f"{of.sd:.2g} points, pooled over {of.rows} rows ({of.freedom} degrees of freedom)"


def aggregate_notes(gains: Sequence[Difference], left: Noise | None) -> list[str]:
    """How gains over several scenarios were tested."""
    if not gains or not left:
        return []
    n, count = gains[0].n, len(gains)
    smallest = smallest_difference(left, left, n, count)
    return [
        f"gain: points over {BASELINE}, mean over {n} scenarios. [low, high] is its 95 % interval "
        f"with scenarios as a random effect: t-test with {left.sd:.2g} points of a method's own "
        f"on a scenario ({left.rows} rows, {left.freedom} degrees of freedom).",
        f"~ cannot be told from chance: p >= 0.05, corrected over {count} "
        f"comparison{'s' if count > 1 else ''} (Holm). "
        f"{n} scenarios find a true difference of {smallest:.1f} points with 80 % power.",
    ]


def _measurement_notes(records: Sequence[Record]) -> list[str]:
    if not records:
        return []
    machines = sorted({hardware(record) for record in records})
    notes = [f"Speed and memory measured on {', '.join(machines)}."]
    how = sorted(
        {
            f"{i.resolution[0]}x{i.resolution[1]} (height x width), {i.precision}, batch {i.batch}"
            for i in (record.cost.inference for record in records if record.cost)
            if i
        }
    )
    return notes + ([f"Inference at {'; '.join(how)}."] if how else [])
