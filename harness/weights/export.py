"""`bench export`: a student as safetensors, ONNX, and a JSON that says how to use them."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from harness.config.class_set import ClassSet
from harness.config.network_files import as_metadata, configs
from harness.errors import BenchError
from harness.files import file_hash, folder_replaced_whole, write_text
from harness.measure import environment
from harness.records import store
from harness.records.schema import RecordModel
from harness.weights.checkpoint_classes import CLASSES
from harness.weights.find import WEIGHTS, Checkpoint
from methods.contract import Segmentor
from methods.networks.names import one_scale
from methods.networks.quiet import quiet
from methods.networks.weights import read_metadata, save_weights
from methods.parts.augment import MEAN, STD
from methods.parts.losses import upsample

CARD, ONNX = "student.json", "student.onnx"
#: What an export holds; ONNX only where it is asked for.
FILES = {WEIGHTS, ONNX, CARD}
#: What the ONNX file needs to be made and checked, all in the extra `export`.
NEEDED = ("onnx", "onnxscript", "onnxruntime")
#: The largest difference between onnxruntime's logits and torch's that passes.
TOLERANCE = 1e-3
#: Axes of the image that stay free, the best that can be had: tried in turn.
FREE: tuple[dict[int, str], ...] = ({0: "batch", 2: "height", 3: "width"}, {0: "batch"}, {})


class ExportedClass(RecordModel):
    name: str
    colour: tuple[int, int, int] = Field(description="RGB")
    label_id: int | None = Field(
        description="label id, what an official evaluation script takes; None: there is none"
    )


class Onnx(RecordModel):
    """What was found out about the ONNX file by running it."""

    file: str
    opset: int
    free: list[str] = Field(description="axes of the input that take any size")
    smallest_side: int = Field(description="pixels that a free side must have at least")
    checked: list[tuple[int, int, int]] = Field(description="batch, height, width of each check")
    deviation: float = Field(description="largest difference from torch's logits")


class Card(RecordModel):
    """student.json: all that is needed to use the two files without this project."""

    network: str
    config: dict[str, Any] | None = Field(description="of a network that was a file of the user's")
    run_id: str | None
    checkpoint: str
    checkpoint_sha256: str
    format: str
    classes: list[ExportedClass] = Field(description="in the order of the logits' channels")
    colours: str = "RGB"
    mean: tuple[float, ...] = Field(description="of grey levels 0..255, by channel")
    std: tuple[float, ...]
    size: tuple[int, int] = Field(description="width, height that the network was checked at")
    head_stride: int = Field(description="of the network's own logits")
    onnx_logits: str = "resized bilinearly to the input's height and width inside the graph"
    onnx: Onnx | None
    versions: dict[str, str | None]


class FullSize(nn.Module):
    """Image (B, 3, H, W), normalised -> logits (B, C, H, W)."""

    def __init__(self, network: Segmentor) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        return upsample(self.network(image).logits, image.shape[-2:])


def export(
    network: Segmentor,
    description: str,
    classes: ClassSet,
    checkpoint: Checkpoint,
    out: Path,
    *,
    size: tuple[int, int],
    onnx: bool = True,
) -> Card:
    """Make the folder `out` of student.safetensors, student.json and student.onnx, all or none.

    `size` is (width, height). BenchError where `out` holds other files, where a package is missing,
    and where onnxruntime's logits differ from torch's; `out` is then as it was.
    """
    if onnx:
        check_packages()
    network = copy.deepcopy(network).eval().requires_grad_(False)
    with folder_replaced_whole(out, "--out", "export", FILES, _is_ours) as building:
        card = card_of(network, description, classes, checkpoint, size)
        save(network, card, building / WEIGHTS)
        if onnx:
            onnx_file = write_onnx(network, building / ONNX, size)
            card = card.model_copy(update={"onnx": onnx_file, "versions": _versions(onnx)})
        write_text(building / CARD, store.as_json(card))
    return card


def _is_ours(folder: Path) -> bool:
    return (folder / CARD).is_file()


def card_of(
    network: Segmentor,
    description: str,
    classes: ClassSet,
    checkpoint: Checkpoint,
    size: tuple[int, int],
) -> Card:
    """What can be said of a network in eval mode, and of where its weights are from."""
    record = checkpoint.record
    return Card(
        network=network.name,
        config=configs([network.name]).get(one_scale(network.name)),
        run_id=record.run_id if record else read_metadata(checkpoint.path).get("run_id"),
        checkpoint=checkpoint.path.name,
        checkpoint_sha256=file_hash(checkpoint.path),
        format=description,
        classes=_classes(classes),
        mean=MEAN,
        std=STD,
        size=size,
        head_stride=_head_stride(network, size),
        onnx=None,
        versions=_versions(onnx=False),
    )


def save(network: Segmentor, card: Card, path: Path) -> None:
    """The network's weights as safetensors that say their network, classes and run."""
    colours = {each.name: each.colour for each in card.classes}
    metadata = as_metadata(network.name) | {CLASSES: json.dumps(colours)}
    save_weights(network, path, metadata | ({"run_id": card.run_id} if card.run_id else {}))


def check_packages() -> None:
    """BenchError when one of the packages for ONNX is missing."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise BenchError(
            f"ONNX needs {', '.join(missing)}; expected the extra `export`. Install it: "
            f"pip install 'uda-bench[export]' (or {' '.join(missing)}), or give --no-onnx."
        )


def write_onnx(network: Segmentor, path: Path, size: tuple[int, int]) -> Onnx:
    """Export with as many free axes as hold when run. BenchError when not even a fixed size does.

    `size` is (width, height). A network whose windows follow from the image's size keeps it: the
    exporter takes minutes for every size at once, and fails.
    """
    model = FullSize(network).eval()
    for free in FREE[1:] if getattr(network, "windows_by_size", False) else FREE:
        try:
            return _try(model, path, size, free)
        except BenchError as error:
            reason = error
    raise reason


def _try(model: FullSize, path: Path, size: tuple[int, int], free: dict[int, str]) -> Onnx:
    width, height = size
    # Two images: a batch of one would be taken for an axis that is always one.
    example = torch.zeros(2 if free else 1, 3, height, width)
    try:
        with quiet():
            program = torch.onnx.export(
                model,
                (example,),
                dynamo=True,
                dynamic_shapes=(free,) if free else None,
                input_names=["image"],
                output_names=["logits"],
                verbose=False,
            )
            assert program is not None
            program.save(path, external_data=False)
    except Exception as error:  # whatever the exporter stumbles over
        reason = f"{type(error).__name__}: {error}".strip().splitlines()[0][:200]
        raise BenchError(
            f"{model.network.name} cannot be written as ONNX ({reason}); expected a network that "
            "torch.onnx.export can follow. Give --no-onnx for its weights alone."
        ) from error
    shapes = [(1, height, width)]
    if free:
        shapes.append((3, height, width))
    if len(free) > 1:
        shapes.append((1, 2 * height // 3 | 1, 3 * width // 4 | 1))
    return Onnx(
        file=path.name,
        opset=program.model.opset_imports[""],
        free=list(free.values()),
        smallest_side=getattr(model.network, "min_size", 1),
        checked=shapes,
        deviation=_deviation(model, path, shapes),
    )


def _deviation(model: FullSize, path: Path, shapes: Sequence[tuple[int, int, int]]) -> float:
    """The largest difference between onnxruntime and torch. BenchError above the tolerance."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors are raised besides
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    for batch, *sides in shapes:
        image = torch.randn(batch, 3, *sides, generator=generator)
        with torch.inference_mode():
            expected = model(image).numpy()
        try:
            (logits,) = session.run(["logits"], {"image": image.numpy()})
        except Exception as error:  # its exceptions have no common class
            raise BenchError(
                f"{model.network.name}: onnxruntime fails on {batch}x3x{sides[0]}x{sides[1]} "
                f"({str(error).splitlines()[0][:200]}); give --no-onnx for its weights alone."
            ) from error
        same = logits.shape == expected.shape
        worst = max(worst, float(np.abs(logits - expected).max()) if same else np.inf)
        if not worst <= TOLERANCE:  # NaN fails too
            raise BenchError(
                f"{model.network.name}: onnxruntime's logits differ from torch's by {worst:.2g} at "
                f"{batch}x3x{sides[0]}x{sides[1]}; expected {TOLERANCE:g} at most. Give --no-onnx "
                "for its weights alone, or try other versions of torch and onnxruntime."
            )
    return worst


def _head_stride(network: Segmentor, size: tuple[int, int]) -> int:
    width, height = size
    with torch.inference_mode():
        logits = network(torch.zeros(1, 3, height, width)).logits
    return round(width / logits.shape[-1])


def _classes(classes: ClassSet) -> list[ExportedClass]:
    return [
        ExportedClass(name=name, colour=colour, label_id=classes.label_ids.get(name))
        for name, colour in zip(classes.names, classes.palette, strict=True)
    ]


def _versions(onnx: bool) -> dict[str, str | None]:
    packages = (*environment.PACKAGES, "safetensors", *(NEEDED if onnx else ()))
    return {name: environment.version(name) for name in packages}
