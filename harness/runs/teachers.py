"""Frozen teachers: read from a file, found trained, or trained now in a process of their own."""

from __future__ import annotations

import signal
from pathlib import Path

import torch

from harness.config.class_set import ClassSet
from harness.config.planning import Plan, Teacher
from harness.config.schema import DataRef, RunSpec
from harness.errors import CTRL_C, GOES_ON, BenchError, Interrupted, in_one_line
from harness.evaluation.inference import Views
from harness.measure.flops import parameters_m
from harness.processes import ending
from harness.records import store
from harness.records.schema import TeacherCost
from harness.runs.launchers import Task, carry_out
from harness.runs.trained import look, read_outcome
from harness.runs.workplace import Workplace
from harness.training.distributed import ask, free_port, variables
from harness.weights.checkpoint_classes import check_classes
from harness.weights.find import RUN, WEIGHTS, Checkpoint, load
from methods.contract import Segmentor
from methods.networks import zoo
from methods.parts.joined import processes, rank


def frozen_teacher(
    teacher: Teacher, classes: ClassSet, workplace: Workplace, steps_after: int = 0
) -> tuple[Segmentor, TeacherCost]:
    """The frozen network and what it cost: read from a file, found trained, or trained now.

    It trains in a process of its own, so that what it leaves in memory is not the student's.
    `steps_after` are those of the run that it is for, which follow.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # what a file does not hold is the same whenever a training goes on
        network = zoo.build(teacher.network, len(classes))
    if teacher.checkpoint:
        check_classes(Checkpoint(teacher.checkpoint), classes)
    if file := teacher.checkpoint or teacher.init:
        load(network, file, part="all" if teacher.checkpoint else "encoder")
        return network, TeacherCost(
            network=teacher.network,
            parameters_m=parameters_m(network),
            weights_id=None,
            checkpoint=file.name,
            reused=True,
        )
    assert teacher.plan is not None
    weights_id = teacher.plan.spec.weights_id
    folder = workplace.weights(weights_id)
    reused = is_usable(teacher.plan, workplace)
    if not reused:
        port = free_port()
        ask("teacher", weights_id, port)
        train_apart(teacher, workplace, port, steps_after)
    load(network, folder / WEIGHTS)
    trained = read_outcome(folder)
    return network, TeacherCost(
        network=teacher.network,
        parameters_m=trained.parameters_m,
        weights_id=weights_id,
        miou=_own_score(teacher.plan.spec, folder, workplace),
        training=trained.training,
        reused=reused,
    )


def _own_score(spec: RunSpec, folder: Path, workplace: Workplace) -> float | None:
    """The frozen teacher's mIoU, where its own run has scored it as this one would."""
    try:
        record = store.read(folder / RUN)
    except BenchError as error:  # its weights are whole: nothing else depends on it
        workplace.report.say(f"the frozen teacher's own score is not known: {in_one_line(error)}")
        return None
    alike = record.metrics is not None and _scored_as(record.spec) == _scored_as(spec)
    return record.metrics.student.miou if record.metrics and alike else None


def is_usable(plan: Plan, workplace: Workplace) -> bool:
    """Whether the run of a frozen teacher is done, its weights whole and of this code.

    Weights of other code will do where the user says so.
    """
    folder = workplace.weights(plan.spec.weights_id)
    kept = look(folder, workplace.made_by(plan)).state
    usable = kept == "whole" or (kept == "other code" and workplace.keep_other_code)
    return usable and (folder / RUN).is_file()


def train_apart(teacher: Teacher, workplace: Workplace, port: int, steps_after: int = 0) -> None:
    """Train a frozen teacher in a process of its own. BenchError where that fails.

    Each process of a run of several starts one; these meet at the port.
    """
    assert teacher.plan is not None
    with_target = " and the target" if teacher.plan.spec.uses_target else ""
    workplace.report.say(
        f"frozen teacher {teacher.network}: trained on the source{with_target} first"
    )
    task = Task.of(
        teacher.plan,
        workplace.results,
        # Its process is to take the GPU of its own number, as this one has.
        device=workplace.device.type if processes() > 1 else str(workplace.device),
        keep_other_code=workplace.keep_other_code,
        side_by_side=workplace.side_by_side,
        role="teacher",
        steps_after=steps_after,
    )
    terminal = workplace.report.console.is_terminal
    last = [""]

    def relay(line: str) -> None:
        last[0] = line or last[0]
        workplace.report.say(line)

    own = variables(rank(), processes(), port) if processes() > 1 else {}
    code = carry_out(task, relay, inherit=terminal, stop=workplace.stop, variables=own)
    if code in (GOES_ON, CTRL_C):  # its process alone was told to stop
        raise Interrupted(signal.SIGINT if code == CTRL_C else signal.SIGTERM)
    if code:
        reason = ending(code, last[0] or "its own lines above say why")
        raise BenchError(f"frozen teacher {teacher.network} could not be trained: {reason}")


def _scored_as(spec: RunSpec) -> tuple[DataRef, Views]:
    """What a run that reuses weights must share with their own run to take over its score."""
    return spec.target, Views.of(spec.profile)
