"""Trials of a search for knobs as a table: the best first, and by which rule."""

from __future__ import annotations

from collections.abc import Sequence

from harness.analysis.provenance import mixture
from harness.analysis.statistics import Summary
from harness.analysis.trials import RULE_TITLES, Trial, budget_seconds, ranked
from harness.config.search_space import spelled
from harness.report.cells import number, spread
from harness.report.columns import Grid

ORACLE_NOTE = (
    "Chosen by oracle: the target's labels were looked at, which an unsupervised method must not; "
    "what is chosen so bounds what a label-free rule could choose."
)
LABEL_FREE_NOTE = "Chosen by {rule}, without a label of the target; its mIoU was not looked at."


def trials_grid(
    heading: str, trials: Sequence[Trial], rule: str, held_out: Summary | None, budget: str
) -> Grid:
    """A line a trial. `held_out`: mIoU of the best trial's knobs on other seeds."""
    knobs = list(trials[0].knobs) if trials else []
    by_rule = [] if rule == "oracle" else [RULE_TITLES[rule]]
    rows = [
        [
            str(trial.number),
            *([number(trial.figure(rule), ".4g")] if by_rule else []),
            spread(trial.miou) if len(trial.runs) == trial.seeds else "failed",
            *(spelled(trial.knobs[knob]) for knob in knobs),
            number(trial.seconds, ".0f"),
        ]
        for trial in ranked(trials, rule)
    ]
    notes = [ORACLE_NOTE if rule == "oracle" else LABEL_FREE_NOTE.format(rule=rule), budget]
    if held_out and held_out.n:
        notes.append(f"The first line's knobs on held-out seeds: mIoU % {spread(held_out)}.")
    if trials:
        notes.append(
            f"All trials: {budget_seconds(trials):.0f} s of training, each frozen teacher's "
            "counted once; the column of seconds leaves teachers out. The budget does not count "
            "seconds."
        )
    notes += mixture({f"trial {trial.number}": trial.runs for trial in trials})
    columns = ["trial", *by_rule, "mIoU %", *knobs, "training s"]
    return Grid(heading, columns, rows, notes)
