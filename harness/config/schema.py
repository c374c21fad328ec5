"""What a run is: method x scenario x profile x student x teacher x seed x overrides, validated."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from harness import PROTOCOL
from harness.files import content_hash

#: Of an image or a window, in pixels.
Side = Annotated[int, Field(ge=1)]


def _without_gaps(slide: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    if slide[2] > slide[0] or slide[3] > slide[1]:
        raise ValueError("a stride above the crop's side leaves gaps between windows")
    return slide


#: Height and width of a window, then how far apart windows start, down and across.
Slide = Annotated[tuple[Side, Side, Side, Side], AfterValidator(_without_gaps)]
Scales = Annotated[tuple[Annotated[float, Field(gt=0, le=16)], ...], Field(min_length=1)]

#: Of decoded images: "auto" reads any that is there and builds none, a format is built before use.
DataStore = Literal["auto", "off", "raw", "compressed"]

#: Profile fields that change no figure: no part of a run's name, and no tables are parted by them.
CHANGE_NO_FIGURE = ("data_store", "description", "log_every", "wants_init", "workers")


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Scenario(Strict):
    """Which domains, and what is scored (benchmarks/scenarios/*.toml)."""

    name: str
    title: str
    source: str = Field(description="data set with labels: gta5, synthia, cityscapes")
    target: str = Field(description="data set to adapt to: cityscapes, camvid, acdc, darkzurich")
    convention: Literal["all19", "rescaled19", "ignored16", "camvid11"] = Field(
        description="which classes the mIoU is over, and how missing ones are treated"
    )
    generated_source: bool = Field(
        False, description="without the source's files, its embedded rendering is used instead"
    )


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
    crop: tuple[Side, Side] = Field(description="height, width of a training crop")
    batch_size: int = Field(ge=1, description="source images a step; as many target images")
    accumulation: int = Field(1, ge=1, description="batches a step of the optimiser")
    iterations: int = Field(ge=1, description="steps of the optimiser")
    teacher_iterations: int = Field(ge=1, description="the same for a frozen teacher's own run")
    length: int = Field(
        1, ge=1, description="the schedule is this many times as long, frozen teachers' too"
    )
    optimiser: Literal["adamw", "sgd"] = "adamw"
    lr: float = Field(gt=0, description="learning rate of the encoder")
    head_lr_factor: float = Field(10.0, gt=0, description="the head's rate over the encoder's")
    weight_decay: float = Field(0.01, ge=0)
    warmup: int = Field(1500, ge=0, description="steps of linear warm-up")
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
    flip: float = Field(0.5, ge=0, le=1)
    slide: Slide | None = Field(
        None,
        description="score in windows: crop height, width, stride height, width; None: whole image",
    )
    tta_flip: bool = Field(False, description="score the mirrored image too")
    tta_scales: Scales = Field((1.0,), description="score at these multiples of the image size")
    workers: int = Field(4, ge=0, description="loader processes")
    data_store: DataStore = Field(
        "auto",
        description="decoded images in the cache: auto uses those of `bench data cache`, off none, "
        "a format is built before training",
    )
    threads: int = Field(0, ge=0, description="CPU threads of torch; 0: its own choice")
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
    generated: dict[Literal["source", "target", "val"], Annotated[int, Field(ge=1)]] = Field(
        default_factory=dict, description="images of a generated set: source, target, val"
    )
    log_every: int = Field(50, ge=1)
    knobs: dict[str, Any] = Field(
        default_factory=dict, description="method knobs of this profile, for methods that have them"
    )


class Suite(Strict):
    """Runs that answer one question (benchmarks/suites/*.toml): the product of its lists."""

    name: str
    question: str
    profile: str = "tiny"
    methods: list[str]
    scenarios: list[str]
    students: list[str] = Field([], description="networks; none: the profile's")
    teachers: list[str] = Field(
        [], description="frozen networks for methods that have one; none: the method's default"
    )
    seeds: list[int] = [0, 1, 2]
    more_seeds: dict[str, list[int]] = Field({}, description="further ones of some methods")
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
    seed: int = 0
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
        for field in ("slide", "tta_flip", "tta_scales"):  # of scoring only
            spec["profile"].pop(field, None)
        if not self.uses_target:
            spec["scenario"] = spec["scenario"]["source"]
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
        for described in (spec, *spec.get("teachers", ()), *spec.get("companions", ())):
            described.pop("init_file", None)
        if not self.teachers:
            del spec["profile"]["teacher_iterations"]
        return spec
