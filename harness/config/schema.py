"""What a run is: method x scenario x profile x student x teacher x seed x overrides, validated."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from harness import PROTOCOL
from harness.config.class_set import ALL, ClassSet, Strict
from harness.config.data_set import DataSet
from harness.files import content_hash

#: Of an image or a window, in pixels. The bounds here and below are far above what any machine
#: trains; beyond them sizes and times overflow in the libraries, each in its own way.
Side = Annotated[int, Field(ge=1, le=2**15)]
#: Images of a batch, batches of a step, processes, threads.
Count = Annotated[int, Field(ge=1, le=2**16)]
CountOrZero = Annotated[int, Field(ge=0, le=2**16)]
#: Of a generated set.
Images = Annotated[int, Field(ge=1, le=10**6)]
#: Of the optimiser.
Steps = Annotated[int, Field(ge=1, le=10**9)]
#: What torch's generators take; the command line's option has the same bounds.
Seed = Annotated[int, Field(ge=0, lt=2**64)]


def _without_gaps(slide: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    if slide[2] > slide[0] or slide[3] > slide[1]:
        raise ValueError("a stride above the crop's side leaves gaps between windows")
    return slide


#: Height and width of a window, then how far apart windows start, down and across.
Slide = Annotated[tuple[Side, Side, Side, Side], AfterValidator(_without_gaps)]
#: Each once, in one order: the same metrics name the same run.
MetricNames = Annotated[tuple[str, ...], AfterValidator(lambda names: tuple(sorted(set(names))))]
Scales = Annotated[tuple[Annotated[float, Field(gt=0, le=16)], ...], Field(min_length=1)]


def _steps_or_minutes(text: str) -> str:
    if not re.fullmatch(r"off|[1-9][0-9]{0,8}|[0-9]{1,5}(\.[0-9]{1,6})?min", text):
        raise ValueError("expected a number of steps (500), minutes (10min), or off")
    return text


#: Steps, minutes, or none; a TOML file may have a plain number of steps.
CheckpointEvery = Annotated[
    str,
    BeforeValidator(lambda value: str(value) if type(value) is int else value),
    AfterValidator(_steps_or_minutes),
]

#: Of decoded images: "auto" reads any that is there and builds none, a format is built before use.
DataStore = Literal["auto", "off", "raw", "compressed"]

#: Profile fields that change no figure: no part of a run's name, and no tables are parted by them.
CHANGE_NO_FIGURE = (
    "checkpoint_every",
    "data_store",
    "description",
    "log_every",
    "score_every",
    "wants_init",
    "workers",
)


def _finite(value: Any) -> Any:
    """A value of a table of knobs, which no model checks. ValueError for NaN and infinity in it."""
    parts = value.values() if isinstance(value, dict) else value
    if isinstance(value, dict | list | tuple):
        for part in parts:
            _finite(part)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a finite number expected")
    return value


class Scenario(Strict):
    """Which domains, and what is scored (benchmarks/scenarios/*.toml)."""

    name: str
    title: str
    source: str = Field(
        description="data set with labels: a shipped one, such as gta5, or your own"
    )
    target: str = Field(
        description="data set to adapt to: a shipped one, such as camvid, or your own"
    )
    classes: str | ClassSet = Field(
        "cityscapes19", description="class set that networks are trained and scored on"
    )
    convention: str = Field(
        ALL, description="the class set's way to score: which classes the mIoU is over"
    )
    generated_source: bool = Field(
        False, description="without the source's files, its embedded rendering is used instead"
    )
    source_split: str = Field("train", description="images of the source set to learn from")
    target_split: str = Field("train", description="images of the target set to adapt on")
    eval_split: str = Field("val", description="images of the target set to score")
    second_split: str = Field(
        "", description="further images of it, scored too where they are there, for one column more"
    )
    scored: str = Field(
        "", description="data set that is scored in the target's place, where that has no labels"
    )
    source_classes: dict[str, str] = Field(
        {}, description="what classes of the source become: a class, or ignored; * for all others"
    )
    target_classes: dict[str, str] = Field({}, description="the same of the target's")
    scored_classes: dict[str, str] = Field({}, description="the same of the scored set's")
    datasets: dict[str, DataSet] = Field({}, description="those that are files of the user's")

    @property
    def sets(self) -> tuple[str, ...]:
        """The names of its data sets."""
        return (self.source, self.target, *([self.scored] if self.scored else []))

    @property
    def scored_set(self) -> str:
        """The data set whose images are scored."""
        return self.scored or self.target


class Profile(Strict):
    """How big: image sizes, batch, schedule, networks (benchmarks/profiles/*.toml)."""

    name: str
    description: str
    edition: int = Field(
        1, ge=1, description="counted up when a profile changes; no table mixes two"
    )
    image_size: dict[str, tuple[Side, Side]] = Field(
        description="width, height that each data set's images are resized to"
    )
    longest_side: Side | None = Field(
        None, description="that images of a set without an entry are reduced to; never enlarged"
    )
    image_scale: float | None = Field(
        None,
        gt=0,
        le=1,
        description="of a set without an entry: its own image size times this, then longest_side",
    )
    crop: tuple[Side, Side] = Field(description="height, width of a training crop")
    batch_size: Count = Field(
        description="source images a step, of all devices together; as many target images"
    )
    devices: Count = Field(
        1, description="processes that train together, a device each; they share out batch_size"
    )
    sync_batchnorm: bool = Field(
        True, description="with several devices, batch norms take statistics of the whole batch"
    )
    accumulation: Count = Field(1, description="batches a step of the optimiser")
    iterations: Steps = Field(description="steps of the optimiser")
    teacher_iterations: Steps = Field(description="the same for a frozen teacher's own run")
    length: Annotated[int, Field(ge=1, le=10**4)] = Field(
        1, description="the schedule is this many times as long, frozen teachers' too"
    )
    optimiser: Literal["adamw", "sgd"] = "adamw"
    lr: float = Field(gt=0, description="learning rate of the encoder")
    head_lr_factor: float = Field(10.0, gt=0, description="the head's rate over the encoder's")
    encoder_lr_factor: float = Field(
        1.0,
        gt=0,
        description="times lr: what encoders learn at, where lr is to be that of the rest",
    )
    layer_decay: float = Field(
        1.0, gt=0, le=1, description="times the rate, once a block of the encoder from its end on"
    )
    freeze_encoder: Count | Literal["none", "all"] = Field(
        "none", description="stands still: all of the encoder, or so many of its first blocks"
    )
    norm_eval: bool = Field(
        False,
        description="batch norms of encoders keep the statistics that they start with, as of "
        "ImageNet, while their scale and shift learn",
    )
    lora_rank: CountOrZero = Field(
        0, description="of low-rank adapters, which then learn in the encoder's place; 0: none"
    )
    weight_decay: float = Field(0.01, ge=0)
    warmup: Annotated[int, Field(ge=0, le=10**9)] = Field(
        1500, description="steps of linear warm-up"
    )
    warmup_ratio: float = Field(1e-6, ge=0, le=1, description="where the warm-up starts")
    power: float = Field(1.0, description="of the polynomial decay")
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    tf32: bool = Field(
        False, description="a GPU may compute float32 products and convolutions in TF32"
    )
    compile: Literal["off", "default", "cudagraphs"] = Field(
        "off", description="torch.compile of encoders and heads; the latter with CUDA graphs"
    )
    channels_last: bool = Field(
        False, description="images and convolutions in the channels-last memory format"
    )
    checkpointing: bool = Field(
        False, description="compute the student's blocks again in backward: less memory, more time"
    )
    frozen_precision: Literal["fp32", "bf16"] = Field(
        "fp32", description="of the weights of networks that never learn; needs precision=bf16"
    )
    source_augmentation: Literal["none", "photometric", "strong"] = Field(
        "none", description="of source images, the same for every method"
    )
    rare_class_sampling: bool = True
    rcs_temperature: float = Field(0.01, gt=0)
    rcs_min_pixels: int = Field(3000, ge=0, description="of the drawn class in the image")
    rcs_min_crop_ratio: float = Field(0.5, ge=0, description="share of those in the crop")
    max_class_ratio: float = Field(
        0.75, gt=0, description="a source crop is redrawn while one class covers more"
    )
    target_with_replacement: bool = Field(
        False, description="draw target images with replacement; else each once an epoch"
    )
    flip: float = Field(0.5, ge=0, le=1)
    slide: Slide | None = Field(
        None,
        description="score in windows: crop height, width, stride height, width; None: whole image",
    )
    tta_flip: bool = Field(False, description="score the mirrored image too")
    tta_scales: Scales = Field((1.0,), description="score at these multiples of the image size")
    metrics: MetricNames = Field(
        (), description="scored beside mIoU where asked for, because they take time: boundary_iou"
    )
    workers: CountOrZero = Field(4, description="loader processes")
    data_store: DataStore = Field(
        "auto",
        description="decoded images in the cache: auto uses those of `bench data cache`, off none, "
        "a format is built before training",
    )
    threads: CountOrZero = Field(0, description="CPU threads of torch; 0: its own choice")
    student: str = Field(description="network of the zoo")
    wants_init: str = Field(
        "", description="weights that encoders are meant to start from; said when they do not"
    )
    init: str | None = Field(
        None,
        description="weights that the student's encoder starts from: a file, or imagenet "
        "where it is found; --init goes before it",
    )
    teacher_init: str | None = Field(
        None, description="the same for frozen teachers' encoders; --teacher-init goes before it"
    )
    generated: dict[Literal["source", "target", "val"], Annotated[int, Field(ge=1, le=10**6)]] = (
        Field(default_factory=dict, description="images of a generated set: source, target, val")
    )
    log_every: Steps = 50
    checkpoint_every: CheckpointEvery = Field(
        "10min",
        description="keep the training state, from which a killed run goes on, every so many "
        "steps (500) or minutes (10min); off: never",
    )
    score_every: Annotated[int, Field(ge=0, le=10**9)] = Field(
        0,
        description="score student and EMA teacher every so many steps, on target images with and "
        "without labels, for `bench table --selection`; 0: after the last step only, with labels",
    )
    knobs: Annotated[dict[str, Any], AfterValidator(_finite)] = Field(
        default_factory=dict, description="method knobs of this profile, for methods that have them"
    )
    target_knobs: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="the same for one target data set, by its name; they go before knobs",
    )


class Suite(Strict):
    """Runs that answer one question (benchmarks/suites/*.toml): the product of its lists."""

    name: str
    question: str
    profile: str = "tiny"
    methods: list[str] = Field(min_length=1)
    scenarios: list[str] = Field(min_length=1)
    students: list[str] = Field([], description="networks; none: the profile's")
    teachers: list[str] = Field(
        [], description="frozen networks for methods that have one; none: the method's default"
    )
    seeds: list[Seed] = Field([0, 1, 2], min_length=1)
    more_seeds: dict[str, list[Seed]] = Field({}, description="further ones of some methods")
    lengths: dict[str, Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1)]] = Field(
        {},
        description="by method, schedules as multiples of the profile's, each a run; others: 1",
    )
    init: str | None = Field(
        None, description="weights that students' encoders start from: a file, imagenet or none"
    )
    teacher_init: str | None = Field(None, description="the same for frozen teachers' encoders")
    overrides: list[str] = Field(
        [], description="key=value for every run, a knob for those of methods that have it"
    )
    variants: list[list[str]] = Field(
        [[]], min_length=1, description="lists of key=value, each a run of methods with those knobs"
    )


class DataRef(Strict):
    """One data set as a run uses it."""

    dataset: str
    generated: bool
    fingerprint: str = Field(description="of file names and labels, or of the generator's version")
    train_images: int
    val_images: int = 0


class RunSpec(Strict):
    """One run, resolved: nothing is looked up after this."""

    protocol: int = PROTOCOL
    method: str
    method_config: dict[str, Any]
    scenario: Scenario
    profile: Profile
    student: str
    teachers: list[dict[str, Any]] = Field(
        default_factory=list, description="frozen teachers: network, and weights_id or checkpoint"
    )
    companions: list[dict[str, Any]] = Field(
        default_factory=list, description="networks trained jointly with the student: network, init"
    )
    networks: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="configs of networks that are a file of the user's"
    )
    plugins: dict[str, str] = Field(
        default_factory=dict,
        description="code of methods that are not built in: a file's sha256, a package's version "
        "and the sha256 of its code",
    )
    init: str | None = Field(None, description="sha256 of the weights the encoder starts from")
    init_file: str | None = Field(None, description="name of their file; changes no figure")
    seed: Seed = 0
    source: DataRef
    target: DataRef
    uses_target: bool = Field(True, description="False: the weights do not depend on the target")

    @property
    def run_id(self) -> str:
        """Ten hex digits that name this run: equal specs, equal names."""
        return content_hash(self._content())

    @property
    def weights_id(self) -> str:
        """The same for the trained weights: one run without target data serves all targets."""
        spec = self._content()
        for field in ("slide", "tta_flip", "tta_scales", "metrics"):  # of scoring only
            spec["profile"].pop(field, None)
        if not self.uses_target:
            scenario = spec["scenario"]
            classes = {k: scenario[k] for k in ("classes", "source_classes") if k in scenario}
            source = {"source": scenario["source"]}
            spec["scenario"] = source | classes if classes else scenario["source"]
            size = spec["profile"]["image_size"]
            spec["profile"]["image_size"] = {self.source.dataset: size[self.source.dataset]}
            del spec["target"]
            spec["profile"].pop("generated", None)
        return content_hash(spec)

    def _content(self) -> dict[str, Any]:
        """All that can change a figure; defaults left out, so that a new field renames no run."""
        spec = self.model_dump(mode="json", exclude_defaults=True) | {"protocol": self.protocol}
        for field in CHANGE_NO_FIGURE:
            spec["profile"].pop(field, None)
        spec["scenario"].pop("datasets", None)  # the fingerprints of the data say more
        spec["scenario"].pop("second_split", None)  # a figure more changes no other
        if isinstance(classes := self.scenario.classes, ClassSet):
            ways = {k: way.model_dump(mode="json") for k, way in classes.ways_to_score.items()}
            spec["scenario"]["classes"] = [list(classes.names), list(classes.things), ways]
        for described in (spec, *spec.get("teachers", ()), *spec.get("companions", ())):
            described.pop("init_file", None)
        if not self.teachers:
            del spec["profile"]["teacher_iterations"]
        return spec
