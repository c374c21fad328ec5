"""What a run came to, in a few lines: figures, files, what next; and what next after others."""

from __future__ import annotations

from pathlib import Path
from shlex import quote

from harness.config.schema import RunSpec
from harness.records.schema import LabelFree, Record, training_speed
from harness.report.cells import number
from harness.report.columns import MEMORY_NOTES
from harness.report.pace import duration


def predictions_folder(spec: RunSpec, results: Path) -> Path:
    """Where predictions of a target without labels lie; other runs may share the weights."""
    return results / "artifacts" / spec.weights_id / f"predictions-{spec.run_id}"


def own_lines(record: Record, results: Path) -> list[str]:
    """The lines of a done run."""
    assert record.metrics is not None
    assert record.cost is not None
    spec, cost = record.spec, record.cost
    speed = training_speed(record)
    lines = [
        f"{spec.method}, {spec.scenario.name}, seed {spec.seed}: {_scores(record)}; trained at "
        f"{speed:.1f} source images/s, peak memory {cost.training.memory_mib:.0f} MiB "
        f"({MEMORY_NOTES[cost.training.memory_kind]}), done in {duration(cost.wall_seconds)}"
    ]
    if record.metrics.label_free:
        lines.append(_without_labels(record.metrics.label_free))
    files = [*(results / "records").glob(f"*-{record.run_id}.json")]
    weights = results / "artifacts" / spec.weights_id / "student.safetensors"
    kept = [f"record {path}" for path in files]
    kept += [f"weights {weights}"] if weights.is_file() else []
    if kept:
        lines.append("; ".join(kept))
    predictions = predictions_folder(spec, results)
    if (predictions / "legend.png").is_file():  # written last
        lines.append(f"predictions of the target's images {predictions}")
    if weights.is_file():
        predict = f"bench predict IMAGES --checkpoint {record.run_id} --out DIR"
        lines.append(next_line(results, predict, "bench table --per-class"))
    return lines


def _scores(record: Record) -> str:
    metrics = record.metrics
    assert metrics is not None
    if not metrics.val_images:
        return "not scored, the target has no labels"
    ema = ""
    if metrics.ema_teacher:
        ema = f", EMA teacher {number(metrics.ema_teacher.miou, '.1f')} %"
    on = f" on {record.spec.scenario.scored}" if record.spec.scenario.scored else ""
    return f"mIoU {number(metrics.student.miou, '.1f')} % ({metrics.convention}){on}{ema}"


def _without_labels(figures: LabelFree) -> str:
    """The label-free figures of the networks, in a line."""
    parts = []
    for name, network in (("student", figures.student), ("EMA teacher", figures.ema_teacher)):
        if network:
            parts.append(
                f"{name} entropy {number(network.entropy)}, infomax {number(network.infomax)}, "
                f"snd {number(network.snd)}"
            )
    if figures.agreement is not None:
        parts.append(f"agreement of the two {number(figures.agreement, '.1f')} %")
    return f"without labels, on {figures.images} target images: {'; '.join(parts)}"


def next_line(results: Path, *commands: str) -> str:
    """Commands that go on from here, of this folder of results."""
    where = "" if results == Path("runs") else f" --results {quote(str(results))}"
    return f"next: {'; '.join(f'{command}{where}' for command in commands)}"
