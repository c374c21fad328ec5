"""What training leaves on disk: weights first, then what says that they are whole."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from harness.config import network_files
from harness.config.class_set import ClassSet
from harness.errors import BenchError, in_one_line
from harness.files import (
    file_hash,
    free_bytes,
    read_json,
    read_text,
    remove_abandoned,
    write_text,
    written_whole,
)
from harness.records.schema import Curve, Golden, RecordModel, TeacherCost, Training
from harness.records.store import as_json
from harness.training.checkpoints import discard
from harness.weights.checkpoint_classes import CLASSES, as_metadata
from harness.weights.find import EMA_WEIGHTS, OUTCOME, RUN, WEIGHTS
from methods.contract import Method
from methods.networks.weights import save_weights

#: Files that a training leaves; a killed one leaves some of them half under temporary names.
WRITTEN = (WEIGHTS, EMA_WEIGHTS, OUTCOME, RUN, "log.jsonl")


class Trained(RecordModel):
    """The outcome of a training: what later stages need of it, and what made it."""

    run_id: str = Field(description="of the run that trained; others may share the weights")
    network: str = Field(description="of the student: a method may make more of the one asked for")
    ema_network: str | None = Field(None, description="of the EMA teacher, where there is one")
    weights_sha256: dict[str, str] = Field(description="of each file of weights")
    losses: dict[str, list[float]]
    golden: Golden | None = None
    curve: Curve | None = Field(None, description="on the target of the run that trained")
    parameters_m: float
    training_parameters_m: float
    training: Training
    teachers: list[TeacherCost]
    made_by: dict[str, Any] = Field(description="fingerprints of the code and the environment")


@dataclass(frozen=True)
class Kept:
    """What a folder of weights holds."""

    state: Literal["whole", "other code", "nothing"]
    trained: Trained | None = None


def look(folder: Path, made_by: dict[str, Any]) -> Kept:
    """Say whether the folder holds whole weights, and whether this code and machine made them."""
    try:
        trained = read_outcome(folder)
        whole = all(file_hash(folder / n) == h for n, h in trained.weights_sha256.items())
    except BenchError:
        return Kept("nothing")
    if not whole:
        return Kept("nothing")
    return Kept("whole" if trained.made_by == made_by else "other code", trained)


def read_outcome(folder: Path) -> Trained:
    """The outcome that a training has written. BenchError where the folder has none."""
    path = folder / OUTCOME
    try:
        return Trained.model_validate_json(read_text(path))
    except (OSError, ValueError) as error:
        raise BenchError(
            f"{path}: {in_one_line(error)}; expected what training leaves there: --fresh trains "
            "again."
        ) from error


def begin(folder: Path) -> None:
    """Make the folder, and remove the outcome of an earlier training that this one replaces.

    What runs have scored of the earlier weights goes with it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for stale in (folder / OUTCOME, folder / RUN, *folder.glob("scores-*.json")):
        stale.unlink(missing_ok=True)
    _remove_halves(folder)


def check_room(method: Method, folder: Path) -> None:
    """BenchError where the disk has not even room for the weights that training will write."""
    networks = [network for network in (method.student, method.ema_teacher) if network]
    tensors = [tensor for network in networks for tensor in network.state_dict().values()]
    needed = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    if (free := free_bytes(folder)) < needed:
        raise BenchError(
            f"{folder}: {free / 2**20:.1f} MiB are free on its disk, expected {needed / 2**20:.1f} "
            "MiB at least for the weights of this run; make room there, or give another folder "
            "with --results."
        )


def keep(method: Method, run_id: str, classes: ClassSet, folder: Path) -> dict[str, str]:
    """Write the student's and the EMA teacher's weights -> sha256 of each file, by name."""
    networks = {WEIGHTS: method.student, EMA_WEIGHTS: method.ema_teacher}
    hashes = {}
    for name, network in networks.items():
        if network is None:
            (folder / name).unlink(missing_ok=True)
            continue
        with written_whole(folder / name) as partial:
            metadata = network_files.as_metadata(network.name)
            metadata |= {"run_id": run_id, CLASSES: as_metadata(classes)}
            save_weights(network, partial, metadata)
        hashes[name] = file_hash(folder / name)
    return hashes


def finish(trained: Trained, folder: Path) -> None:
    """Say that the folder is whole."""
    write_text(folder / OUTCOME, as_json(trained))


def tidy(folder: Path, run_id: str) -> None:
    """Remove what a run needs no more once its record is written, and what a killed try left.

    Nothing where its weights are not on the disk: training may go on from a kept state.
    """
    if not (folder / OUTCOME).is_file():
        return
    discard(folder)
    stage_file(folder, "scores", run_id).unlink(missing_ok=True)
    remove_abandoned(stage_file(folder, "scores", run_id))
    _remove_halves(folder)


def _remove_halves(folder: Path) -> None:
    """Remove what killed tries left under temporary names, ours and those of safetensors."""
    for name in WRITTEN:
        remove_abandoned(folder / name)
    for half in folder.glob(".tmp??????"):
        half.unlink(missing_ok=True)


def stage_file(folder: Path, stage: str, run_id: str) -> Path:
    """Where a stage of a run after training leaves its outcome until the record is written."""
    return folder / f"{stage}-{run_id}.json"


def read_stage(path: Path, made_by: dict[str, Any]) -> Any:
    """The outcome of a stage, None where there is none of this code and machine."""
    try:
        content = read_json(path)
        return content["outcome"] if content["made_by"] == made_by else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_stage(path: Path, outcome: RecordModel, made_by: dict[str, Any]) -> None:
    """Keep the outcome of a stage."""
    content = {"made_by": made_by, "outcome": json.loads(outcome.model_dump_json())}
    write_text(path, json.dumps(content))
