"""Checkpoints as a user names them: a file, a run's folder, or a run by its id."""

from __future__ import annotations

import glob
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.config.network_files import pinned, recorded, register, register_said
from harness.errors import BenchError
from harness.files import file_hash, read_json
from harness.records import store
from harness.records.schema import Record
from methods.contract import Segmentor
from methods.networks import zoo
from methods.networks.checkpoint_shells import Which
from methods.networks.weights import load_weights, network_for, read_metadata

#: What a run leaves in its folder below results/artifacts.
WEIGHTS, EMA_WEIGHTS, RUN = "student.safetensors", "ema_teacher.safetensors", "run.json"
#: Beside the weights, and written after them: a folder that holds it, with weights of the hashes
#: in it, is whole.
OUTCOME = "training.json"

#: The network of a self-training checkpoint, as the command line calls it.
NetworkPart = Literal["student", "ema"]


@dataclass(frozen=True)
class Checkpoint:
    """A file of weights, and the record of the run that wrote it where that is known."""

    path: Path
    record: Record | None = None


def find_checkpoint(
    name: str, results: Path, part: NetworkPart = "student", option: str = "--checkpoint"
) -> Checkpoint:
    """Find a file, a run's folder, or a run below `results` by its run_id or weights_id.

    Of a run of ours, `part` chooses the file of the student or of the EMA teacher. BenchError,
    which names the `option`, when it is none of them, when the run has no EMA teacher, or when
    its file is not as training wrote it.
    """
    checkpoint = _find(name, results, option)
    if part == "ema" and checkpoint.path.name == WEIGHTS:
        ema = checkpoint.path.with_name(EMA_WEIGHTS)
        if not ema.is_file():
            raise BenchError(
                f"{option} {name}: the run has no {EMA_WEIGHTS}; expected a run of a method with "
                "an EMA teacher, or --part student."
            )
        checkpoint = Checkpoint(ema, checkpoint.record)
    _check_whole(checkpoint.path, f"{option} {name}")
    return checkpoint


def _check_whole(path: Path, asked: str) -> None:
    """BenchError where training noted another hash of this file than it has."""
    try:
        written = read_json(path.with_name(OUTCOME))["weights_sha256"][path.name]
    except (OSError, ValueError, KeyError, TypeError):  # no file of a run's, or not of this version
        return
    if (found := file_hash(path)) != written:
        raise BenchError(
            f"{asked}: {path.name} is not as training wrote it, it was damaged or changed: its "
            f"sha256 begins with {found}, expected {written}. Train again with bench run --fresh, "
            f"or copy the file into a folder without {OUTCOME} to use it as it is."
        )


def _find(name: str, results: Path, option: str) -> Checkpoint:
    path = Path(name)
    if path.is_file():
        return Checkpoint(path, _record_beside(path))
    artifacts = results / "artifacts"
    for folder in (path, artifacts / name):
        if (folder / WEIGHTS).is_file():
            return Checkpoint(folder / WEIGHTS, _record_beside(folder / WEIGHTS))
    for file in (results / "records").glob(f"*-{glob.escape(name)}.json"):
        record = store.read(file)
        weights = artifacts / record.spec.weights_id / WEIGHTS
        if weights.is_file():
            return Checkpoint(weights, record)
    raise BenchError(
        f"{option} {name}: no such file or run; expected a file of weights, a folder with "
        f"{WEIGHTS}, or the id of a run whose weights are in {artifacts}."
    )


def _record_beside(path: Path) -> Record | None:
    beside = path.with_name(RUN)
    return store.read(beside) if path.name in (WEIGHTS, EMA_WEIGHTS) and beside.is_file() else None


def own_size(checkpoint: Checkpoint) -> tuple[int, int] | None:
    """Width, height of the images that a run scored its student on; None for a file without run."""
    if checkpoint.record is None:
        return None
    spec = checkpoint.record.spec
    return spec.profile.image_size[spec.target.dataset]


def network_of(checkpoint: Checkpoint) -> str | None:
    """The network that a checkpoint says it is of; only our own files say so.

    BenchError where that is the path of a config file.
    """
    name = _said(checkpoint).get("network")
    return None if name is None else recorded(name)


def _said(checkpoint: Checkpoint) -> dict[str, str]:
    """What the file says of itself. The zoo builds its network, and its run's, from now on."""
    if checkpoint.record:
        register(checkpoint.record.spec.networks)
    metadata = read_metadata(checkpoint.path)
    register_said(metadata, checkpoint.path.name)
    return metadata


def network_name(checkpoint: Checkpoint, student: str | None = None) -> str:
    """The network's name: as the user says, else as the file does. BenchError when neither does."""
    name = pinned(student) if student else network_of(checkpoint)
    if name is None:
        raise BenchError(
            f"{checkpoint.path.name} does not say its network; expected --student NETWORK."
        )
    return name


def load_network(
    checkpoint: Checkpoint, name: str, classes: int, part: NetworkPart = "student"
) -> tuple[Segmentor, str]:
    """Build the network of that name with the checkpoint's weights -> it, and the file's format."""
    _said(checkpoint)
    is_ema_file = checkpoint.path.name == EMA_WEIGHTS  # it holds that network alone
    which: Which = "ema_teacher" if part == "ema" and not is_ema_file else "student"
    try:
        network = zoo.build(network_for(name, checkpoint.path, which), classes)
    except ValueError as error:
        raise BenchError(f"{error}.") from error
    return network, load(network, checkpoint.path, which=which)


def load(
    network: Segmentor,
    path: Path,
    part: Literal["encoder", "all"] = "all",
    which: Which = "student",
) -> str:
    """Load a file into a network, completely -> what the file was. BenchError where it cannot."""
    try:
        return load_weights(network, path, part=part, which=which)
    except ValueError as error:  # its message begins with the file's name
        raise BenchError(str(error)) from error
    except OSError as error:
        raise BenchError(f"{path.name}: {error.strerror}") from error
