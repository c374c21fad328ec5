"""What a run would have scored, had a rule chosen its checkpoint, and how good rules are. Pure.

A rule without labels may be used by anyone; `oracle` looks at target labels, and bounds the others.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import get_args

from harness.analysis.comparison import Table, comparison, newest, same_conditions
from harness.analysis.rows import by_label, table_rows
from harness.analysis.statistics import Summary, summary
from harness.errors import BenchError
from harness.evaluation.validators import HIGHER_IS_BETTER, RULES, chosen, merit
from harness.records.schema import Curve, Record, ScoredNetwork, Scores, unlabelled

#: Checkpoints of a run from which an order of them means something.
ENOUGH_POINTS = 3


@dataclass(frozen=True)
class Chosen:
    """One network of a row: its mIoU over seeds, in percent, by the rule that chose."""

    label: str
    network: ScoredNetwork
    miou: dict[str, Summary]  # a rule that knows none of its checkpoints is left out


@dataclass(frozen=True)
class Quality:
    """How well a validator orders checkpoints: correlations of ranks with the mIoU, -1 to 1."""

    validator: str
    network: ScoredNetwork
    spearman: Summary  # over runs, each of its own checkpoints
    kendall: Summary
    spearman_of_all: float  # over the checkpoints of all runs together; NaN: no order
    kendall_of_all: float
    checkpoints: int
    lost: Summary  # points below the best checkpoint of the run, over runs


@dataclass(frozen=True)
class Selection:
    """The runs of one table that hold a curve."""

    table: Table
    rows: list[Chosen]
    qualities: list[Quality]


def selected(records: Iterable[Record], rule: str) -> tuple[list[Record], int]:
    """The done runs as the rule chooses, and how many are left out: without a curve, or labels.

    Their cost is that of the whole run; IoU by class is known of the last iteration only.
    BenchError where none is left.
    """
    runs = [record for record in records if record.state == "done" and record.metrics]
    changed = [other for run in runs if not unlabelled(run) and (other := _changed(run, rule))]
    if runs and all(map(unlabelled, runs)):
        raise BenchError(
            f"--selection: the target of these {len(runs)} runs has no labels, so that what a rule "
            "chooses has no mIoU; expected runs of a scenario whose target has some."
        )
    if not changed:
        by = "" if rule == "last" else f" by {rule}"
        raise BenchError(
            f"--selection: none of {len(runs)} done runs was scored{by} while it learned; "
            "expected runs with a curve: bench run ... --set score_every=500."
        )
    return changed, len(runs) - len(changed)


def _changed(record: Record, rule: str) -> Record | None:
    assert record.metrics is not None
    scores = {network: _scores(record, rule, network) for network in get_args(ScoredNetwork)}
    if scores["student"] is None:
        return None
    metrics = record.metrics.model_copy(update={"selection": rule, "second": None, **scores})
    return record.model_copy(update={"metrics": metrics})


def _scores(record: Record, rule: str, network: ScoredNetwork) -> Scores | None:
    metrics = record.metrics
    point = chosen(metrics.curve.points, rule, network) if metrics and metrics.curve else None
    if metrics is None or point is None:
        return None
    miou = getattr(point, network).miou
    conventions = {metrics.convention: miou}
    return Scores(miou=miou, iou={}, conventions=conventions, confusion=[])


def selections(records: Iterable[Record]) -> list[Selection]:
    """Every rule beside the others, a table each of what may be compared. BenchError as above."""
    kept, _ = selected(records, "last")
    return [_selection(alike) for alike in same_conditions(newest(kept)[0])]


def _selection(records: Sequence[Record]) -> Selection:
    (table,) = comparison(records)
    networks: list[ScoredNetwork] = ["student"]
    if any(point.ema_teacher for record in records for point in _curve(record).points):
        networks.append("ema_teacher")
    rows = [
        Chosen(label, network, miou)
        for label, runs in by_label(table_rows(records)[0]).items()
        for network in networks
        if (miou := _by_rule(runs, network))
    ]
    qualities = [
        quality
        for network in networks
        for validator in HIGHER_IS_BETTER
        if (quality := _quality(records, validator, network))
    ]
    return Selection(table, rows, qualities)


def _curve(record: Record) -> Curve:
    assert record.metrics is not None
    assert record.metrics.curve is not None
    return record.metrics.curve


def _by_rule(runs: Sequence[Record], network: ScoredNetwork) -> dict[str, Summary]:
    scores = {
        rule: [s.miou for run in runs if (s := _scores(run, rule, network))] for rule in RULES
    }
    return {rule: summary(values) for rule, values in scores.items() if values}


def _quality(records: Sequence[Record], validator: str, network: ScoredNetwork) -> Quality | None:
    """None where no run has what the validator looks at."""
    pairs_by_run = []
    lost = []
    for record in records:
        points = _curve(record).points
        pairs = [(merit(p, validator, network), merit(p, "oracle", network)) for p in points]
        known = [(m, miou) for m, miou in pairs if m is not None and miou is not None]
        picked, best = _scores(record, validator, network), _scores(record, "oracle", network)
        if picked and best:
            pairs_by_run.append(known)
            lost.append(best.miou - picked.miou)
    if not pairs_by_run:
        return None
    correlations = [c for pairs in pairs_by_run if (c := rank_correlations(pairs))]
    together = [pair for pairs in pairs_by_run for pair in pairs]
    of_all = rank_correlations(together) or (math.nan, math.nan)
    return Quality(
        validator=validator,
        network=network,
        spearman=summary(c[0] for c in correlations),
        kendall=summary(c[1] for c in correlations),
        spearman_of_all=of_all[0],
        kendall_of_all=of_all[1],
        checkpoints=len(together),
        lost=summary(lost),
    )


def rank_correlations(pairs: Sequence[tuple[float, float]]) -> tuple[float, float] | None:
    """Spearman's rho and Kendall's tau-b of pairs; None of too few, or where one side is constant.

    Spearman, American Journal of Psychology 1904; Kendall, Biometrika 1945, for ties.
    """
    finite = [pair for pair in pairs if all(map(math.isfinite, pair))]
    if len(finite) < ENOUGH_POINTS or any(len(set(side)) < 2 for side in zip(*finite, strict=True)):
        return None
    from scipy.stats import kendalltau, spearmanr  # a second to import, and for this alone

    one, other = zip(*finite, strict=True)
    return float(spearmanr(one, other).statistic), float(kendalltau(one, other).statistic)
