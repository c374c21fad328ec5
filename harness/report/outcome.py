"""What a run came to, in three lines: figures, files, what next; and what next after others."""

from __future__ import annotations

from pathlib import Path
from shlex import quote

from harness.records.schema import Record, training_speed
from harness.report.columns import number
from harness.report.pace import duration


def own_lines(record: Record, results: Path) -> list[str]:
    """The lines of a done run."""
    assert record.metrics is not None
    assert record.cost is not None
    spec, metrics, cost = record.spec, record.metrics, record.cost
    ema = f", EMA teacher {number(metrics.ema_teacher.miou, '.1f')}" if metrics.ema_teacher else ""
    speed = training_speed(record)
    miou = number(metrics.student.miou, ".1f")
    lines = [
        f"{spec.method}, {spec.scenario.name}, seed {spec.seed}: {miou} mIoU "
        f"({metrics.convention}){ema}; trained at {speed:.1f} source images/s, peak memory "
        f"{cost.training.memory_mib:.0f} MiB ({cost.training.memory_kind}), done in "
        f"{duration(cost.wall_seconds)}"
    ]
    files = [*(results / "records").glob(f"*-{record.run_id}.json")]
    weights = results / "artifacts" / spec.weights_id / "student.safetensors"
    kept = [f"record {path}" for path in files]
    kept += [f"weights {weights}"] if weights.is_file() else []
    if kept:
        lines.append("; ".join(kept))
    if weights.is_file():
        predict = f"bench predict IMAGES --checkpoint {record.run_id} --out DIR"
        lines.append(next_line(results, predict, "bench table --per-class"))
    return lines


def next_line(results: Path, *commands: str) -> str:
    """Commands that go on from here, of this folder of results."""
    where = "" if results == Path("runs") else f" --results {quote(str(results))}"
    return f"next: {'; '.join(f'{command}{where}' for command in commands)}"
