"""A stage of a run: what it leaves where it fails or is interrupted, and what it says then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from harness.config.planning import Plan
from harness.errors import BenchError, Interrupted, explained, in_one_line
from harness.locks import one_at_a_time
from harness.records import store
from harness.report.progress import Reporter
from harness.runs.workplace import Workplace, failed_record, record_of
from harness.training.checkpoints import FOLDER, steps_done, stored
from harness.weights.find import OUTCOME
from methods.plug_in import exits_raise

NOTHING = "nothing is kept"


@contextmanager
def stage(name: str, kept: Callable[[], str], plan: Plan, workplace: Workplace) -> Iterator[None]:
    """One stage: where it fails, a `failed` record, and a line that says what is kept."""
    try:
        with exits_raise():
            yield
    except (KeyboardInterrupt, Interrupted):
        workplace.report.say(f"interrupted while {name}: {_go_on(kept(), plan, workplace)}")
        raise
    except torch.OutOfMemoryError as error:
        advice = (
            f"out of GPU memory in {plan.spec.method} while {name}; expected it to fit. Try "
            "--set batch_size=1 --set accumulation=2, or --set precision=bf16."
        )
        _fail(advice, name, kept(), plan, workplace)
        raise BenchError(advice) from error
    except Exception as error:
        if advice := explained(error):
            _fail(advice, name, kept(), plan, workplace)
            raise BenchError(advice) from error
        _fail(f"{type(error).__name__}: {in_one_line(error)}", name, kept(), plan, workplace)
        raise
    except SystemExit as end:
        if not end.code:  # it would look like success
            _fail("the method ended the process", name, kept(), plan, workplace)
        raise


def kept_of_training(folder: Path, iterations: int) -> str:
    """What is on disk of a training that did not come to its end, or whose run did not."""
    if (folder / OUTCOME).is_file():
        return f"the trained weights are kept in {folder}"
    states = stored(folder / FOLDER)
    if not states:
        return NOTHING
    return f"the training state of step {steps_done(states[0])} of {iterations} is kept in {folder}"


def _fail(text: str, name: str, kept: str, plan: Plan, workplace: Workplace) -> None:
    with suppress(OSError):  # a full disk must not hide what went wrong first
        store.write(failed_record(plan, text, workplace), workplace.results / "records")
    workplace.report.say(f"failed while {name}: {_go_on(kept, plan, workplace)}")


def _go_on(kept: str, plan: Plan, workplace: Workplace) -> str:
    if kept == NOTHING:
        return kept
    if workplace.fresh:
        if record := record_of(plan, workplace):
            return f"{kept}, the record of {record.created} too; --fresh trains from the start"
        return f"{kept}; the same command without --fresh goes on from there"
    changed = f" (changed code of {', '.join(plan.spec.plugins)} starts anew)"
    return f"{kept}; the same command goes on from there{changed if plan.spec.plugins else ''}"


@contextmanager
def optional(figure: str, report: Reporter) -> Iterator[None]:
    """What measures a figure that a run can do without: an error there is a line alone."""
    try:
        yield
    except Exception as error:
        reason = explained(error) or f"{type(error).__name__}: {in_one_line(error)}"
        report.say(f"{figure} not measured ({reason}); the run goes on without")


@contextmanager
def before_training(doing: str, workplace: Workplace) -> Iterator[None]:
    """What needs no record; where a signal ends it, a line says how to go on."""
    try:
        yield
    except Interrupted:
        workplace.report.say(f"interrupted while {doing}: the same command goes on")
        raise


@contextmanager
def only_one(folder: Path, report: Reporter) -> Iterator[None]:
    """One training at a time of the weights in a folder; another process's is waited for."""
    waits = f"another process trains weights {folder.name}: waiting for it"
    with one_at_a_time(folder / ".lock", lambda: report.say(waits), report.say):
        yield
