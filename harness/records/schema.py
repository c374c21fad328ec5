"""A run's record: what it holds. The schema is documented in docs/records.md."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from harness.config.schema import RunSpec

SCHEMA = 1


class RecordModel(BaseModel):
    # A diverged loss is NaN: "NaN" as a string keeps the file strict JSON and reads back as NaN.
    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="strings")


class Scores(RecordModel):
    """One network's scores on the target's validation images, in percent."""

    miou: float = Field(description="in the scenario's convention: the figure of the run")
    iou: dict[str, float | None] = Field(description="by class; None: absent everywhere")
    figures: dict[str, float] = Field(
        default_factory=dict, description="of registered metrics, by name"
    )
    conventions: dict[str, float] = Field(
        description="mIoU in every convention of the class set; in that "
        "of the scenario alone where it merges classes"
    )
    confusion: list[list[int]] = Field(
        description="[label][prediction] pixel counts, of all classes"
    )

    @model_validator(mode="before")
    @classmethod
    def _of_an_older_record(cls, values: Any) -> Any:
        """Pixel accuracy had a field of its own before metrics were registered."""
        if not isinstance(values, dict) or "pixel_accuracy" not in values or "figures" in values:
            return values
        others = {name: value for name, value in values.items() if name != "pixel_accuracy"}
        return others | {"figures": {"pixel_accuracy": values["pixel_accuracy"]}}


class Golden(RecordModel):
    """What `bench check` compares of a training."""

    losses: dict[str, list[tuple[int, float]]] = Field(
        description="by term: (step, value) at the first steps, about every tenth of the schedule, "
        "and the last"
    )
    held_mib: list[tuple[int, float]] = Field(
        description="(step, MiB): tensors held after the first steps and after the last"
    )


#: Of a run, the networks that are scored.
ScoredNetwork = Literal["student", "ema_teacher"]
#: How a checkpoint is chosen: harness/evaluation/validators.py.
Selection = Literal["last", "entropy", "infomax", "snd", "agreement", "oracle"]


class LabelFreeScores(RecordModel):
    """One network on target images without their labels."""

    entropy: float = Field(description="nats: mean entropy of a pixel's class; lower is better")
    infomax: float = Field(description="nats: mutual information of pixel and class")
    snd: float = Field(description="nats: soft neighbourhood density")


class NetworkScores(LabelFreeScores):
    """One network at one step."""

    miou: float = Field(
        description="percent, on the scored images, in the scenario's convention; NaN of none"
    )


class LabelFree(RecordModel):
    """The networks after the last step, on images of a target that has no labels."""

    images: int = Field(description="target training images that were looked at")
    student: LabelFreeScores
    ema_teacher: LabelFreeScores | None = None
    agreement: float | None = Field(None, description="percent, as in the curve")


class CurvePoint(RecordModel):
    """The networks after so many steps."""

    step: int = Field(description="steps done")
    student: NetworkScores
    ema_teacher: NetworkScores | None = None
    agreement: float | None = Field(
        None, description="percent: mIoU of the student's classes against the EMA teacher's"
    )


class Curve(RecordModel):
    """How the networks scored while they learned."""

    images: int = Field(description="target training images that were scored without labels")
    seconds: float = Field(description="that the scoring took; in no other figure of the training")
    points: list[CurvePoint] = Field(description="steps ascending, the last one's included")
    chosen: dict[str, int] = Field(
        default_factory=dict, description="the step of the student that each rule chooses"
    )


class SecondSplit(RecordModel):
    """The networks on further images of the target, beside those that the run is scored on."""

    split: str = Field(description="of the target's data set")
    images: int
    student: Scores
    ema_teacher: Scores | None = None


class Metrics(RecordModel):
    convention: str
    student: Scores
    ema_teacher: Scores | None = None
    val_images: int
    selection: Selection = "last"
    losses: dict[str, list[float]] = Field(
        default_factory=dict, description="each loss term at the first steps: the golden losses"
    )
    golden: Golden | None = Field(None, description="the golden losses of the whole schedule")
    curve: Curve | None = Field(None, description="scores while training, where score_every asks")
    label_free: LabelFree | None = Field(default=None, description="of a target that has no labels")
    second: SecondSplit | None = Field(
        default=None, description="where the scenario has a second_split"
    )


#: What speeds were taken by; own time leaves out waiting for a processor core that others use.
TimedBy = Literal["wall clock", "own time", "gpu events"]


class Inference(RecordModel):
    images_per_second: float
    batch: int
    latency_ms_p50: float = Field(description="batch of 1")
    latency_ms_p90: float
    resolution: tuple[int, int] = Field(description="height, width")
    precision: str
    timed_by: TimedBy | None = Field(None, description="None: an older record")


class TrainingPhase(RecordModel):
    """Speed in one part of the schedule, the parts being the same for every method."""

    first_step: int
    steps: int
    images_per_second: float = Field(description="source images / wall seconds of the part")


class CheckpointCost(RecordModel):
    """What keeping the training state cost; it is in no other figure of the training."""

    count: int = Field(description="states written, those of interrupted tries included")
    seconds: float
    mib: float = Field(description="of the last one")


class Training(RecordModel):
    """What the training loop cost, all tries of an interrupted run together."""

    images_per_second: float = Field(description="median over steps after warm-up; source images")
    images_per_second_p10: float
    images_per_second_p90: float
    data_share: float = Field(description="share of the step's time spent waiting for data")
    steps: int
    timed_by: TimedBy | None = Field(
        None, description="of the steps and the phases; None: an older record"
    )
    wall_seconds: float
    processor_seconds: float | None = Field(
        None,
        description="of a CPU's run: that its process computed, all threads, loader workers aside",
    )
    wall_images_per_second: float | None = Field(
        None, description="source images of the whole training / wall_seconds"
    )
    phases: list[TrainingPhase] = Field(
        default_factory=list, description="speed by tenth of the schedule"
    )
    memory_mib: float = Field(description="peak, of the kind that memory_kind names")
    memory_peak_mib: float | None = Field(
        None, description="peak of the whole process and its workers, of a CPU's run"
    )
    memory_baseline_mib: float | None = Field(
        None, description="of that, what was there before the run built anything"
    )
    memory_reserved_mib: float | None = None
    memory_kind: Literal[
        "gpu allocated",
        "cpu rss",
        "cpu pss above baseline",
        "cpu uss above baseline",
        "cpu rss above baseline",
    ]
    energy_kj: float | None = Field(None, description="of the GPU, where NVML gives it")
    resumed: list[int] = Field(
        default_factory=list, description="steps that were done when an interrupted run went on"
    )
    checkpoints: CheckpointCost | None = None
    unmet: list[str] = Field(
        default_factory=list, description="the profile's settings that this machine did not support"
    )


class TeacherCost(RecordModel):
    network: str
    parameters_m: float
    weights_id: str | None
    checkpoint: str | None = None
    miou: float | None = Field(
        default=None, description="of the frozen teacher itself on the target"
    )
    training: Training | None = None
    reused: bool = Field(False, description="True: it was found trained")


class Cost(RecordModel):
    parameters_m: float
    training_parameters_m: float | None = Field(
        None, description="of all networks that training holds, the student's among them"
    )
    gflops: float | None = Field(
        None, description="of one image at the inference resolution; None: not counted"
    )
    training: Training
    inference: Inference | None = Field(None, description="None: not measured")
    teachers: list[TeacherCost] = Field(default_factory=list)
    wall_seconds: float = Field(description="of the whole run without its teachers' training")


#: How trials of a search are compared: `oracle` looks at target labels, the others do not.
TrialRule = Literal["oracle", "entropy", "infomax", "snd", "agreement"]


class SearchTrial(RecordModel):
    """A search for knobs that a run was a trial of (`bench search`)."""

    rule: TrialRule = Field(description="by which its trials are compared")
    space: dict[str, str] = Field(description="the knobs that were searched, and their ranges")
    trial: int | None = Field(None, ge=1, description="its number; None: a held-out seed's run")
    trials: int = Field(description="the budget of each method")
    seeds: list[int] = Field(description="of every trial; its figure is their mean")
    sampler: str = Field(description="what drew the trials, its version and its seed")


class Record(RecordModel):
    schema_version: int = Field(SCHEMA, strict=True)
    # It is looked up as a folder's name.
    run_id: str = Field(pattern=r"^[0-9a-f]{10}$")
    state: Literal["done", "failed"]
    error: str | None = None
    created: str = Field(description="UTC, ISO 8601")
    spec: RunSpec
    metrics: Metrics | None = None
    cost: Cost | None = None
    searches: list[SearchTrial] = Field(
        default_factory=list, description="those that it was a trial of"
    )
    provenance: dict[str, Any]


def hardware(record: Record) -> str:
    """The GPU's name, or the processor's where the run had no GPU."""
    gpu, cpu = provenance(record, "gpu"), provenance(record, "cpu")
    return str(gpu.get("name") or cpu.get("model") or "an unnamed machine")


def provenance(record: Record, part: str) -> dict[str, Any]:
    """A part of a record's provenance by its name; empty where the record has none."""
    value = record.provenance.get(part)
    return value if isinstance(value, dict) else {}


def unlabelled(record: Record) -> bool:
    """Whether its target has no labels to score on: its mIoU is not known, its predictions are."""
    return record.metrics is not None and record.metrics.val_images == 0


def training_speed(record: Record) -> float:
    """Source images a second over the whole training of a done record, by wall time; NaN of none.

    The record's median step would not show what a method does in a part of the schedule only, such
    as mixing after a source phase.
    """
    assert record.cost is not None
    profile = record.spec.profile
    images = profile.iterations * profile.accumulation * profile.batch_size
    seconds = record.cost.training.wall_seconds
    return images / seconds if seconds > 0 else math.nan
