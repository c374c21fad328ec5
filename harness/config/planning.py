"""From what the user typed to a RunSpec: names, profile knobs and overrides, all checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from harness.config import catalogue
from harness.config.class_set import ClassSet
from harness.config.knobs import check_names, config_of, naming
from harness.config.network_files import (
    check_batch_of_one,
    check_parts,
    configs,
    outline,
    pinned,
)
from harness.config.overrides import apply_overrides
from harness.config.schema import Profile, RunSpec, Scenario, Seed
from harness.config.start_weights import (
    IF_FOUND,
    RANDOM,
    Start,
    check_init,
    check_teacher,
    init_hash,
    located,
    sources,
    start,
    start_beside,
    start_reference,
)
from harness.data.sources import Sources, is_real, opened
from harness.errors import BenchError, unknown
from methods import registry
from methods.hooks import networks_beside
from methods.networks import zoo

if TYPE_CHECKING:
    from methods.contract import Method

from harness.files import known_hash


class Request(BaseModel):
    """What a user asks for; everything but method and scenario has a default."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: str
    scenario: str
    profile: str | None = None
    student: str | None = None
    teacher: str | None = None
    teacher_checkpoint: str | None = None
    teacher_init: str | None = None
    init: str | None = None
    seed: Seed = 0
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True)
class Teacher:
    """A frozen teacher: a file, an encoder as it starts, or the plan of the run that trains it."""

    network: str
    checkpoint: Path | None = None
    init: Path | None = None  # of one that is never trained
    plan: Plan | None = None


@dataclass(frozen=True)
class Companion:
    """A network trained jointly with the student, and the weights its encoder starts from."""

    network: str
    init: Path | None = None

    def reference(self, *, says_random: bool) -> dict[str, Any]:
        """What a spec says of it: the file by its content, and its name."""
        said = self.init or says_random
        return {"network": self.network} | (start_reference(self.init) if said else {})


@dataclass(frozen=True)
class Plan:
    """A run, its method's configuration, where its data and weights lie, its other networks."""

    spec: RunSpec
    config: Any  # the method's own Config
    sources: Sources
    teachers: tuple[Teacher, ...] = ()
    init: Path | None = None  # weights that the student's encoder starts from
    companions: tuple[Companion, ...] = ()
    teacher_init: Start | None = None  # what networks beside the student were asked to start from
    profile_note: str = ""  # which profile was taken of real data, and why; "" where one was named

    @property
    def classes(self) -> ClassSet:
        """What every network of the run tells apart."""
        return catalogue.classes_of(self.spec.scenario)

    @property
    def missing_init(self) -> str:
        """What to tell a user whose profile wants weights for the encoder and gets none; or ""."""
        wanted, student = self.spec.profile.wants_init, self.spec.student
        if not wanted or self.spec.init:
            return ""
        return (
            f"the encoder of {student} starts from random weights, not from its {wanted} "
            f"({sources(student)}): give --init FILE, where it is a frozen teacher --teacher-init "
            "FILE; imagenet for FILE looks for it on this machine"
        )


def default_profile(
    scenario: Scenario, data_root: Path | None, device: str | None = None
) -> tuple[str, str]:
    """The profile of a run that names none, and of real data the line that says why; else "".

    `device` is what --device says.
    """
    if not is_real(scenario, data_root):
        return "tiny", ""
    return profile_of_real_data(device)


def profile_of_real_data(device: str | None = None) -> tuple[str, str]:
    """The same where data is real: `paper` takes a CPU weeks, and is not taken there unasked."""
    from harness.measure.environment import choose_device

    if choose_device(device).type == "cpu":
        return "photo", (
            "profile photo, as none was named and there is no GPU to train on: real data in "
            "minutes on a CPU; --profile paper is the literature's protocol, which takes a GPU "
            "hours and a CPU weeks"
        )
    return "paper", (
        "profile paper, as none was named and there is a GPU: real data by the literature's "
        "protocol, in hours; --profile photo takes minutes"
    )


def resolve(request: Request, data_root: Path | None = None, *, device: str | None = None) -> Plan:
    """Resolve a request. BenchError for unknown names, knobs or values, and for missing data.

    `device` is what --device says, by which a request without a profile gets one.
    """
    find = partial(opened, data_root=data_root)
    if request.profile:
        return resolve_on(request, find)
    find_method(request.method)  # of two mistakes the first option's is named
    default, note = default_profile(catalogue.scenario(request.scenario), data_root, device)
    try:
        made = resolve_on(request.model_copy(update={"profile": default}), find)
    except BenchError as error:
        files = request.init, request.teacher_init, request.teacher_checkpoint
        if not note or not any(files):
            raise
        # Most likely weights for the networks of the profile that was not taken.
        taken = f"{note.partition(':')[0]} (--profile names another)"
        raise type(error)(f"{str(error).rstrip('.')}; {taken}.") from error
    return replace(made, profile_note=note)


def resolve_on(
    request: Request, find: Callable[[Scenario, Profile], tuple[Profile, Sources]]
) -> Plan:
    """The plan of a request that names its profile, on the data that `find` gives."""
    config_class = find_method(request.method).Config
    scenario = catalogue.scenario(request.scenario)
    profile = catalogue.profile(request.profile or "")
    if request.student:
        profile = profile.model_copy(update={"student": request.student})
    knobs = catalogue.knobs_for(profile, scenario.target)
    knobs = {k: v for k, v in knobs.items() if k in config_class.model_fields}
    options = {option: getattr(request, option) for option in ("teacher_checkpoint", "teacher")}
    named = {option: value for option, value in options.items() if value is not None}
    for option in [o for o in named if o not in config_class.model_fields]:
        raise BenchError(
            f"--{option.replace('_', '-')} {named[option]}: method {request.method!r} has no "
            f"frozen teacher that a knob {option} names; expected one that has, such as dualkd."
        )
    knobs |= named
    profile, scenario, knobs = apply_overrides(
        request.overrides, profile, scenario, config_class, knobs
    )
    profile = profile.model_copy(
        update={
            "iterations": profile.iterations * profile.length,
            "teacher_iterations": profile.teacher_iterations * profile.length,
        }
    )
    profile, data = find(scenario, profile)
    by_profile = None if knobs.get("teacher_checkpoint") else profile.teacher_init
    starts = start(request.init, profile.init), start(request.teacher_init, by_profile)
    resolved = plan(request.method, knobs, scenario, profile, request.seed, data, *starts)
    if request.teacher_init is not None and not (resolved.teachers or resolved.companions):
        found = f"method {request.method!r} has no frozen teacher; expected one that has"
        raise BenchError(f"--teacher-init {request.teacher_init}: {found}, such as dualkd.")
    _check_trained(resolved)
    return resolved


def _check_trained(plan: Plan) -> None:
    """BenchError where a batch cannot be shared out or learnt from, or a network lacks parts."""
    profile = plan.spec.profile
    size, devices = profile.batch_size, profile.devices
    if size % devices:
        shares = [str(n) for n in range(1, size + 1) if size % n == 0]
        raise BenchError(
            f"devices = {devices}: batch_size = {size} images cannot be shared out evenly; "
            f"expected {' or '.join(shares)} devices, or another batch: --set "
            f"batch_size={devices * -(-size // devices)}."
        )
    one_image = size == 1 or (size == devices and not profile.sync_batchnorm)
    trained = [teacher.network for teacher in plan.teachers if teacher.plan]
    for network in (plan.spec.student, *trained, *(c.network for c in plan.companions)):
        if one_image:
            check_batch_of_one(network, profile.crop)
        held = profile.norm_eval and network == plan.spec.student
        check_parts(network, profile.freeze_encoder, profile.lora_rank, held)


def use_plugins(paths: Iterable[Path], option: str = "--plugin") -> None:
    """Know the methods of these files from now on. BenchError where one holds none.

    `option` is what errors call them.
    """
    try:
        registry.use_files(paths)
    except ValueError as error:
        raise BenchError(f"{option} {error}.") from error


def find_method(name: str) -> type[Method]:
    """The method's class, names joined by `+` made one.

    BenchError where there is none, and for one whose knobs are called like fields of every run.
    """
    for part in name.split("+"):
        if part not in registry.names():
            error = unknown("method", part, registry.names(), "bench list methods")
            raise BenchError(f"{error} A method in a file: --plugin {part}.py.")
    try:
        method = registry.load(name)
    except ValueError as error:
        raise BenchError(f"method {name}: {error}.") from error
    check_names(name, method.Config)
    return method


def plan(
    method_name: str,
    knobs: dict[str, Any],
    scenario: Scenario,
    profile: Profile,
    seed: int,
    data: Sources,
    init: Start | None = None,
    teacher_init: Start | None = None,
    *,
    init_option: str = "--init",
) -> Plan:
    """Plan one run, and before it one for each frozen teacher without a file.

    `init_option` is what errors call `init`.
    """
    method = find_method(method_name)
    method_name = registry.canonical(method_name)
    config = config_of(method_name, method.Config, knobs)
    profile = profile.model_copy(
        update={"student": _network(profile.student), "init": None, "teacher_init": None}
    )
    student_init = located(init, profile.student, init_option)
    as_student = profile.student if student_init else None  # networks that start so if unsaid
    try:
        wanted, beside = networks_beside(method, config, profile.student)
    except ValueError as error:
        raise BenchError(f"{error}.") from error
    teacher_init = teacher_init if wanted or beside else None
    other_option = "--teacher-init" if teacher_init else "--init"  # of networks beside the student
    teachers = []
    references: list[dict[str, Any]] = []
    for network, checkpoint, trained, trainer in wanted:
        network = _network(network)
        own_start = start_beside(network, profile.student, init, teacher_init)
        if checkpoint and teacher_init not in (None, IF_FOUND, RANDOM):
            raise BenchError(
                f"--teacher-init {teacher_init}: the frozen teacher is read from {checkpoint} and "
                "not trained; expected one of the two."
            )
        if checkpoint:
            from methods.networks.weights import network_for

            network = network_for(network, checkpoint)
            check_teacher(Path(checkpoint), network, len(catalogue.classes_of(scenario)))
            teachers.append(Teacher(network, checkpoint=Path(checkpoint)))
            references.append({"network": network, "checkpoint_sha256": known_hash(checkpoint)})
        elif not trained:
            weights = located(own_start, network, other_option)
            if weights is None:
                raise BenchError(
                    f"the frozen teacher {network} is not trained here, and starts from no weights;"
                    f" expected its published ones ({sources(network)}): --teacher-init FILE, or "
                    "imagenet to look for them on this machine."
                )
            check_init(weights, network, other_option)
            teachers.append(Teacher(network, init=weights))
            references.append({"network": network} | start_reference(weights))
        else:
            teacher_profile = profile.model_copy(
                update={"student": network, "iterations": profile.teacher_iterations}
            )
            own_knobs, trained_by = {"loss_stride": config.loss_stride}, find_method(trainer)
            its_config = config_of(trainer, trained_by.Config, own_knobs)
            if trained_by.frozen_teachers(its_config, network):  # it might ask for this one's
                raise BenchError(
                    f"method {method_name}: {trainer} is to train its frozen teacher, and asks for "
                    "one itself; expected one without, or TeacherSpec(network, CHECKPOINT)."
                )
            teacher = plan(
                trainer, own_knobs, scenario, teacher_profile, seed, data, own_start,
                init_option=other_option,
            )  # fmt: skip
            teachers.append(Teacher(network, plan=teacher))
            references.append({"network": network, "weights_id": teacher.spec.weights_id})
            if teacher_init and (teacher.init or network == as_student):
                references[-1] |= start_reference(teacher.init)
    companions = []
    for network, checkpoint in beside:
        network = _network(network)
        own_start = start_beside(network, profile.student, init, teacher_init)
        own_init = Path(checkpoint) if checkpoint else None
        if own_init:
            check_init(own_init, network, "--teacher-checkpoint")
        elif own_init := located(own_start, network, other_option):
            check_init(own_init, network, other_option)
        companions.append(Companion(network, own_init))
    method_config = naming(method_name, config)
    networks = [t.network for t in teachers] + [c.network for c in companions]
    if "teacher" in method_config and networks:
        # Left to its default or named, it is the same run.
        method_config["teacher"] = networks[0]
    spec = RunSpec(
        method=method_name,
        method_config=method_config,
        scenario=scenario,
        profile=profile.model_copy(
            update={
                "knobs": {},
                "target_knobs": {},
                "image_size": _sizes(profile, scenario),
                "longest_side": None,
                "image_scale": None,
            },
        ),
        student=profile.student,
        teachers=references,
        companions=[c.reference(says_random=c.network == as_student) for c in companions],
        networks=configs((profile.student, *networks)),
        plugins=registry.origins(method_name),
        init=init_hash(student_init, profile.student, init_option) if student_init else None,
        init_file=student_init.name if student_init else None,
        seed=seed,
        source=data.source.ref,
        target=data.target.ref,
        uses_target=method.uses_target,
    )
    return Plan(spec, config, data, tuple(teachers), student_init, tuple(companions), teacher_init)


def _sizes(profile: Profile, scenario: Scenario) -> dict[str, tuple[int, int]]:
    """The image sizes that belong in a spec: a set that the run does not use must not rename it.

    Those of the first four sets stand in every spec, as they do in the records made before others.
    """
    kept = {"gta5", "synthia", "cityscapes", "camvid", *scenario.sets}
    return {name: size for name, size in profile.image_size.items() if name in kept}


def _network(name: str) -> str:
    """The network's name in a spec. BenchError for one that cannot be built."""
    _check_network(name := pinned(name))
    return name


@cache
def _check_network(name: str) -> None:
    try:
        zoo.describe(name)
    except ValueError as error:
        raise BenchError(str(error)) from error
    if ":" in name:  # another library's: only building it tells whether it is there
        outline(name)
