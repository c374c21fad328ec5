"""One run: data -> teachers -> method -> train -> evaluate -> measure -> record."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError

from harness.config.planning import Plan
from harness.data.sources import Role as ImagesRole
from harness.errors import in_one_line
from harness.evaluation.metrics import unscored
from harness.evaluation.scoring import score
from harness.files import write_text
from harness.measure.allocator import keep_freed_blocks
from harness.measure.flops import gflops, parameters_m
from harness.measure.inference_speed import measure_inference
from harness.measure.memory import baseline
from harness.measure.process_memory import TreeMemory
from harness.records import store
from harness.records.schema import (
    Cost,
    Inference,
    Metrics,
    Record,
    Scores,
    SecondSplit,
    TeacherCost,
)
from harness.runs.inference import BATCH, inference_speed
from harness.runs.stage import NOTHING, before_training, kept_of_training, only_one, optional, stage
from harness.runs.teachers import frozen_teacher
from harness.runs.trained import (
    Trained,
    begin,
    check_room,
    finish,
    keep,
    look,
    read_stage,
    stage_file,
    tidy,
    write_stage,
)
from harness.runs.training import Outcome, build_method, check_data, decode, new_student, train
from harness.runs.unlabelled import has_no_labels, label_free, write_predictions
from harness.runs.workplace import Workplace, has_curve, has_second, new_record
from harness.training.checkpoints import discard
from harness.training.distributed import ask, copy_weights, failing_together
from harness.training.loop import finite_weights
from harness.training.precision import computing_threads, set_float32
from harness.weights.find import EMA_WEIGHTS, OUTCOME, RUN, WEIGHTS, load
from methods.contract import Method, Segmentor
from methods.networks import zoo
from methods.networks.lora import merge_adapters


def run(plan: Plan, workplace: Workplace, *, fresh: bool = False) -> Record:
    """Carry out a plan, stage by stage, and store its record.

    Data, frozen teachers, training, weights, scores, cost, record: each stage leaves its outcome
    in the run's folder before the next begins, so that the same plan goes on where an earlier try
    ended; `fresh` trains again. A stage that fails leaves a `failed` record, and one line says
    what is kept. BenchError (bad data, a bad frozen teacher) before training is raised, not
    recorded: nothing has been run yet.
    """
    keep_freed_blocks()
    memory_before = baseline()
    workplace = replace(workplace, fresh=fresh)
    workplace.report.headline(plan)
    with before_training("preparing the data", workplace):
        check_data(plan, workplace.report)
        ask("data")
    folder, say = workplace.weights(plan.spec.weights_id), workplace.report.say
    set_float32(plan.spec.profile.tf32)
    with computing_threads(plan.spec.profile.threads, workplace.device):
        trained = None if fresh else _trained_before(plan, workplace, lambda _: None)
        start = time.perf_counter()
        if trained is None:
            with before_training("waiting for frozen teachers", workplace):
                steps, classes = plan.spec.profile.iterations, plan.classes
                teachers = [frozen_teacher(t, classes, workplace, steps) for t in plan.teachers]
            start = time.perf_counter()
            folder.mkdir(parents=True, exist_ok=True)
            with only_one(folder, workplace.report):
                # Another process may have trained them while this one waited.
                trained = None if fresh else _trained_before(plan, workplace, say)
                if trained is None:
                    if fresh:
                        discard(folder)
                    iterations = plan.spec.profile.iterations
                    kept = partial(kept_of_training, folder, iterations)
                    with stage("training", kept, plan, workplace):
                        trained = _train_stage(plan, workplace, teachers, folder, memory_before)
            teachers.clear()  # the measuring stage's process needs the GPU's memory
        weights = f"the trained weights are kept in {folder}" if trained.whole else NOTHING
        with stage("scoring", lambda: weights, plan, workplace):
            metrics = _score_stage(plan, workplace, trained, folder)
        scores = f"{weights}, the scores too" if trained.whole else NOTHING
        if has_no_labels(plan):
            with stage("predicting", lambda: scores, plan, workplace):
                student = _load_networks(trained, plan, folder, workplace.device)
                write_predictions(student, plan, workplace)
        _free_memory(workplace.device)
        with stage("measuring", lambda: scores, plan, workplace):
            seconds = trained.earlier_seconds + time.perf_counter() - start
            cost = _measure_stage(plan, workplace, trained, seconds)
        record = new_record(plan, "done", workplace, metrics=metrics, cost=cost)
    saving = workplace.report.doing("saving the record")
    with stage("writing the record", lambda: scores, plan, workplace), saving:
        _keep_record(record, workplace, folder, trained.whole)
    return record


@dataclass
class _Networks:
    """What later stages need of a training: its outcome, and the networks where they are at hand.

    `whole` says whether the weights are on disk; else the networks are all there is.
    """

    outcome: Trained
    whole: bool
    earlier_seconds: float  # of training, spent by earlier tries
    student: Segmentor | None = None
    ema_teacher: Segmentor | None = None


def _trained_before(
    plan: Plan, workplace: Workplace, say: Callable[[str], None]
) -> _Networks | None:
    """Weights that an earlier try left whole; None where there are none that may be used, of which
    `say` is told why."""
    folder = workplace.weights(plan.spec.weights_id)
    kept = look(folder, workplace.made_by(plan))
    if kept.trained is None:
        if (folder / OUTCOME).is_file():
            say(f"the weights in {folder} are not as their training left them: trained again")
        return None
    if kept.state == "other code" and not workplace.keep_other_code:
        say(
            f"weights {plan.spec.weights_id} were trained by other code, another torch or on "
            "another kind of device: trained again (--keep-other-code uses them)"
        )
        return None
    if not has_curve(kept.trained.curve, kept.trained.run_id, plan.spec):
        say(
            f"weights {plan.spec.weights_id} were trained without being scored on this target "
            "(score_every): trained again"
        )
        return None
    workplace.report.say(f"weights {plan.spec.weights_id}: trained before, used again")
    return _Networks(kept.trained, True, kept.trained.training.wall_seconds)


def _train_stage(
    plan: Plan,
    workplace: Workplace,
    teachers: Sequence[tuple[Segmentor, TeacherCost]],
    folder: Path,
    memory_before: TreeMemory,
) -> _Networks:
    ask("train")
    networks = [network for network, _ in teachers]
    method = build_method(plan, new_student(plan), networks).to(workplace.device)
    decode(method, plan, workplace)
    check_room(method, folder)
    begin(folder)
    with workplace.stop.held():  # from the first step until its outcome is on the disk
        trained = train(method, plan, workplace, folder, memory_before)
        finite_weights(method)
        training_m = parameters_m(method)  # before adapters are merged
        if plan.spec.profile.lora_rank:
            merge_adapters(method)
        costs = [cost for _, cost in teachers]
        outcome = _outcome(plan, workplace, method, trained, costs, training_m)
        whole = _write_weights(method, outcome, plan, workplace, folder)
    return _Networks(outcome, whole, trained.earlier_seconds, method.student, method.ema_teacher)


def _outcome(
    plan: Plan,
    workplace: Workplace,
    method: Method,
    trained: Outcome,
    teachers: list[TeacherCost],
    training_m: float,
) -> Trained:
    return Trained(
        run_id=plan.spec.run_id,
        network=method.student.name,
        ema_network=method.ema_teacher.name if method.ema_teacher else None,
        weights_sha256={},
        losses=trained.losses,
        golden=trained.golden,
        curve=trained.curve,
        parameters_m=parameters_m(method.student),
        training_parameters_m=training_m,
        training=trained.training,
        teachers=teachers,
        made_by=workplace.made_by(plan),
    )


def _write_weights(
    method: Method, outcome: Trained, plan: Plan, workplace: Workplace, folder: Path
) -> bool:
    """Write them and what says that they are whole -> whether there was room for it."""
    try:
        hashes = keep(method, outcome.run_id, plan.classes, folder)
        finish(outcome.model_copy(update={"weights_sha256": hashes}), folder)
    except (OSError, SafetensorError) as error:
        workplace.report.say(
            f"the weights could not be written to {folder} ({in_one_line(error)}): they are lost "
            "when this run ends; scoring goes on"
        )
        return False
    return True


def _score_stage(plan: Plan, workplace: Workplace, trained: _Networks, folder: Path) -> Metrics:
    spec, outcome = plan.spec, trained.outcome
    path, made_by = stage_file(folder, "scores", spec.run_id), workplace.made_by(plan)
    if trained.student is None and (before := read_stage(path, made_by)) is not None:
        metrics = Metrics.model_validate(before)
        if has_second(metrics.second, plan):
            return metrics
    student = _load_networks(trained, plan, folder, workplace.device)
    metrics = Metrics(
        convention=spec.scenario.convention,
        student=_scores("student", workplace.role, student, plan, workplace),
        ema_teacher=_scores("ema_teacher", "EMA teacher", trained.ema_teacher, plan, workplace)
        if trained.ema_teacher
        else None,
        val_images=spec.target.val_images,
        losses=outcome.losses,
        golden=outcome.golden,
        curve=outcome.curve if outcome.run_id == spec.run_id else None,
    )
    if "second" in plan.sources.target.splits:
        metrics.second = _second_split(student, trained.ema_teacher, plan, workplace)
    if has_no_labels(plan):
        networks = [student, *([trained.ema_teacher] if trained.ema_teacher else [])]
        metrics.label_free = label_free(networks, plan, workplace)
    if trained.whole:
        with suppress(OSError):  # a full disk: the record, smaller, may still find room
            write_stage(path, metrics, made_by)
    return metrics


def _load_networks(trained: _Networks, plan: Plan, folder: Path, device: torch.device) -> Segmentor:
    """The student; networks that this process has not trained are read from the run's own files."""
    if trained.student is not None:
        return trained.student
    trained.student = zoo.build(trained.outcome.network, len(plan.classes))
    load(trained.student.to(device), folder / WEIGHTS)
    if trained.outcome.ema_network:
        trained.ema_teacher = zoo.build(trained.outcome.ema_network, len(plan.classes))
        load(trained.ema_teacher.to(device), folder / EMA_WEIGHTS)
    return trained.student


def _free_memory(device: torch.device) -> None:
    """Give back what a GPU keeps for tensors that are gone: the next stage's process needs it."""
    if device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()


def _measure_stage(plan: Plan, workplace: Workplace, trained: _Networks, seconds: float) -> Cost:
    outcome = trained.outcome
    width, height = plan.spec.profile.image_size[plan.spec.target.dataset]
    classes = len(plan.classes)
    operations = speed = None
    with optional("floating-point operations", workplace.report):
        network = trained.student or zoo.build(outcome.network, classes)
        operations = gflops(network, (height, width))
    timing = workplace.report.doing(f"timing inference of {outcome.network}")
    with optional("inference speed", workplace.report), timing:
        speed = measured_speed(outcome.network, plan, workplace)
    return Cost(
        parameters_m=outcome.parameters_m,
        training_parameters_m=outcome.training_parameters_m,
        gflops=operations,
        training=outcome.training,
        inference=speed,
        teachers=outcome.teachers,
        wall_seconds=seconds,
    )


def measured_speed(network: str, plan: Plan, workplace: Workplace) -> Inference:
    """The inference speed of a network at the size of the plan's target."""
    profile = plan.spec.profile
    width, height = profile.image_size[plan.spec.target.dataset]
    if workplace.clock is not time.perf_counter:
        # It counts the time of this process alone: no other may measure for it.
        return measure_inference(
            zoo.build(network, len(plan.classes)).to(workplace.device),
            (height, width),
            workplace.device,
            profile.precision,
            BATCH,
            clock=workplace.clock,
        )
    return inference_speed(
        network,
        len(plan.classes),
        (height, width),
        workplace.device,
        profile,
        plan.spec.networks,
    )


def _keep_record(record: Record, workplace: Workplace, folder: Path, whole: bool) -> None:
    """A copy beside the weights, the record, and then the stages' own files go."""
    if whole:
        try:
            write_text(folder / RUN, store.as_json(record))
        except OSError as error:
            workplace.report.say(
                f"the record's copy could not be written to {folder} ({in_one_line(error)}): as a "
                "frozen teacher's, these weights will be scored again"
            )
    store.write(record, workplace.results / "records")
    tidy(folder, record.run_id)


def _second_split(
    student: Segmentor, ema_teacher: Segmentor | None, plan: Plan, workplace: Workplace
) -> SecondSplit:
    """The scores of the networks on the scenario's second split."""
    split = plan.sources.target.splits["second"]
    shown = f"{workplace.role} on {split}", f"EMA teacher on {split}"
    return SecondSplit(
        split=split,
        images=len(plan.sources.target.open("second")),
        student=_scores("student", shown[0], student, plan, workplace, "second"),
        ema_teacher=_scores("ema_teacher", shown[1], ema_teacher, plan, workplace, "second")
        if ema_teacher
        else None,
    )


@failing_together()
def _scores(
    role: str,
    shown: str,
    network: Segmentor,
    plan: Plan,
    workplace: Workplace,
    on: ImagesRole = "val",
) -> Scores:
    """Of the student or the EMA teacher, as `role` says, by all processes of the run."""
    spec = plan.spec
    if not spec.target.val_images:
        return unscored(plan.classes, spec.scenario.convention)
    images = plan.sources.target.open(on)
    ask("score", role, network.name, on)
    copy_weights(network)
    with workplace.report.counting(f"scoring {shown}") as scored:
        return score(network, images, spec.scenario, spec.profile, workplace.device, scored)
