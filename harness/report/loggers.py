"""Other programs that watch a run (`--log`): TensorBoard, Weights & Biases, MLflow. Each an extra.

A logger is told what `log.jsonl` and the record hold. None of them can end a run, and none is part
of its name or of its figures.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from harness.config.schema import Profile, RunSpec
from harness.errors import BenchError, in_one_line
from harness.measure.memory import PeakMemory
from harness.records.schema import Record
from harness.training.loop import Progress
from harness.training.trainer import rate_factor

Values = Mapping[str, float]


class Logger(Protocol):
    """What a run tells. Whatever a method raises is said once, and the logger told no more."""

    def begin(self, spec: RunSpec, name: str, results: Path) -> None:
        """Before anything of the run is measured; `name` is that of its record's file."""

    def step(self, step: int, values: Values) -> None:
        """After `step` steps: loss terms, learning rate, speed and memory."""

    def end(self, scores: Values) -> None:
        """Once, with the scores and costs of the record; empty where the run came to nothing."""


class TensorBoard:
    """Event files in RESULTS/tensorboard/NAME."""

    package = "tensorboard"

    def begin(self, spec: RunSpec, name: str, results: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(results / "tensorboard" / name))
        self.writer.add_text("spec", f"```json\n{spec.model_dump_json(indent=1)}\n```")
        self.steps = spec.profile.iterations

    def step(self, step: int, values: Values) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()

    def end(self, scores: Values) -> None:
        for name, value in scores.items():
            self.writer.add_scalar(name, value, self.steps)
        self.writer.close()


class WeightsAndBiases:
    """A run of W&B, below RESULTS/wandb; WANDB_PROJECT and WANDB_MODE=offline are W&B's own."""

    package = "wandb"

    def begin(self, spec: RunSpec, name: str, results: Path) -> None:
        import wandb

        results.mkdir(parents=True, exist_ok=True)
        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "uda-bench"),
            name=name,
            group=spec.run_id,  # a run that goes on is another of its group
            dir=str(results),
            config=spec.model_dump(mode="json"),
            settings=wandb.Settings(console="off", silent=True, x_disable_stats=True),
        )
        self.run.define_metric("*", step_metric="step")

    def step(self, step: int, values: Values) -> None:
        self.run.log({"step": step, **values})

    def end(self, scores: Values) -> None:
        self.run.summary.update(dict(scores))
        self.run.finish(exit_code=0 if scores else 1)


class MLflow:
    """A run of MLflow; below RESULTS/mlruns unless MLFLOW_TRACKING_URI names a server or folder."""

    package = "mlflow"

    def begin(self, spec: RunSpec, name: str, results: Path) -> None:
        if "MLFLOW_TRACKING_URI" not in os.environ:
            # Without this newer versions of MLflow refuse a store in a folder.
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        from mlflow.tracking import MlflowClient

        folder = (results / "mlruns").resolve().as_uri()
        self.client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI", folder))
        experiment = self.client.get_experiment_by_name("uda-bench")
        of = experiment.experiment_id if experiment else self.client.create_experiment("uda-bench")
        run = self.client.create_run(of, run_name=name, tags={"run_id": spec.run_id})
        self.id, self.steps = run.info.run_id, spec.profile.iterations
        self.client.log_dict(self.id, spec.model_dump(mode="json"), "spec.json")
        for knob, value in _flat(spec.model_dump(mode="json")):
            self.client.log_param(self.id, knob, str(value)[:500])

    def step(self, step: int, values: Values) -> None:
        for name, value in values.items():
            self.client.log_metric(self.id, name, value, step=step)

    def end(self, scores: Values) -> None:
        self.step(self.steps, scores)
        self.client.set_terminated(self.id, "FINISHED" if scores else "FAILED")


#: By the name that `--log` takes, which is the extra's too.
LOGGERS: dict[str, type[TensorBoard | WeightsAndBiases | MLflow]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "mlflow": MLflow,
}


def loggers(names: Sequence[str]) -> list[Logger]:
    """One of each name. BenchError for an unknown name, and for one whose package is missing."""
    for name in names:
        if name not in LOGGERS:
            raise BenchError(f"--log {name}: expected {', '.join(LOGGERS)}.")
        if find_spec(LOGGERS[name].package) is None:
            raise BenchError(
                f"--log {name}: the package {LOGGERS[name].package} is not installed; expected the "
                f"extra of that name: pip install 'uda-bench[{name}]'."
            )
    return [LOGGERS[name]() for name in dict.fromkeys(names)]


class Logging:
    """The loggers of one run. What one of them raises is said in a line, and it is told no more."""

    def __init__(self, loggers: Sequence[Logger] = (), say: Callable[[str], None] = print) -> None:
        self._loggers, self._say = list(loggers), say
        self._scores: Values = {}

    @contextmanager
    def run(self, spec: RunSpec, results: Path) -> Iterator[None]:
        """Begin before the block, and end after it, whatever ends it, with what `scored` was told.

        Loggers start processes of their own: before the run's memory is first looked at, so that
        it is not counted as the run's.
        """
        name = f"{spec.method}-{spec.scenario.name}-{spec.student}-s{spec.seed}-{spec.run_id}"
        name = "".join(letter if letter.isalnum() or letter in "._-+" else "-" for letter in name)
        self._tell(lambda logger: logger.begin(spec, name, results))
        try:
            yield
        finally:
            self._tell(lambda logger: logger.end(self._scores))

    def scored(self, record: Record) -> None:
        """Keep what a run's record says of it for the end."""
        self._scores = scores(record)

    def also(self, progress: Progress, profile: Profile, memory: PeakMemory) -> Progress:
        """The same progress, which tells the loggers too."""
        if not self._loggers:
            return progress

        def tell(step: int, terms: dict[str, float], speed: float) -> None:
            progress(step, terms, speed)
            values = {name if "/" in name else f"loss/{name}": v for name, v in terms.items()}
            values["images_per_second"] = speed
            values["memory_mib"] = memory.so_far_mib()
            values["learning_rate"] = profile.lr * rate_factor(step - 1, profile)
            self._tell(lambda logger: logger.step(step, values))

        return tell

    def _tell(self, call: Callable[[Logger], None]) -> None:
        for logger in list(self._loggers):
            try:
                call(logger)
            except Exception as error:  # of a library, its server or the disk
                name = type(logger).__name__
                self._say(f"{name} fails ({in_one_line(error)}); the run goes on without it")
                self._loggers.remove(logger)


def scores(record: Record) -> dict[str, float]:
    """What is worth a curve of a done record: scores in percent, by convention and class; costs."""
    if record.metrics is None or record.cost is None:
        return {}
    values: dict[str, float] = {}
    networks = {"student": record.metrics.student, "ema_teacher": record.metrics.ema_teacher}
    for network, scored in networks.items():
        if scored is None or not record.metrics.val_images:
            continue
        values[f"{network}/miou"] = scored.miou
        values |= {f"{network}/{name}": v for name, v in scored.figures.items()}
        values |= {f"{network}/miou_{name}": v for name, v in scored.conventions.items()}
        values |= {f"{network}/iou/{n}": v for n, v in scored.iou.items() if v is not None}
    if figures := record.metrics.label_free:
        values |= {f"student/{n}": v for n, v in figures.student.model_dump().items()}
        if figures.ema_teacher:
            values |= {f"ema_teacher/{n}": v for n, v in figures.ema_teacher.model_dump().items()}
        if figures.agreement is not None:
            values["agreement"] = figures.agreement
    values["training_seconds"] = record.cost.training.wall_seconds
    values["peak_memory_mib"] = record.cost.training.memory_mib
    if record.cost.inference:
        values["inference_images_per_second"] = record.cost.inference.images_per_second
    return values


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Names and values of nested settings: profile.lr."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
