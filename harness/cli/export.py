"""`bench export`: a student for use elsewhere."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from harness.cli.grouped import examples
from harness.cli.options import Results
from harness.cli.weights import PartOption, Student, Weights, width_and_height
from harness.errors import BenchError

app = typer.Typer()


@app.command(
    epilog=examples(
        "bench export --checkpoint 0123456789 --out exported",
        "bench export --checkpoint 0123456789 --out exported --no-onnx",
    )
)
def export(
    checkpoint: Weights,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="The folder for student.safetensors, .json and .onnx.",
            show_default="none: --hub is needed",
        ),
    ] = None,
    hub: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="The folder as the Hugging Face hub takes it: safetensors, configuration, model "
            "card with the scores. Nothing is uploaded.",
            show_default="none",
        ),
    ] = None,
    student: Student = None,
    part: PartOption = "student",
    onnx: Annotated[
        bool, typer.Option("--onnx/--no-onnx", help="Write ONNX too, checked with onnxruntime.")
    ] = True,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="WxH",
            help="The image size to export and check at.",
            show_default="the run's own, else 1024x512",
        ),
    ] = None,
    results: Results = Path("runs"),
) -> None:
    """Write a student for use elsewhere: safetensors, ONNX, and how to use them as JSON."""
    if out is None and hub is None:
        raise BenchError("expected --out DIR, --hub DIR, or both: where to write to.")
    from harness.files import check_output_folder
    from harness.weights.checkpoint_classes import classes_in
    from harness.weights.export import CARD
    from harness.weights.export import export as write
    from harness.weights.find import (
        WEIGHTS,
        find_checkpoint,
        load_network,
        network_name,
        own_size,
    )

    for option, folder in (("--out", out), ("--hub", hub)):
        if folder is not None:
            check_output_folder(option, folder)
    weights = find_checkpoint(checkpoint, results, part)
    pixels = width_and_height(size) or own_size(weights) or (1024, 512)
    classes, name = classes_in(weights), network_name(weights, student)
    network, description = load_network(weights, name, len(classes), part)
    if hub is not None:
        from harness.weights.hub import PAGE, export_to_hub

        card = export_to_hub(network, description, classes, weights, hub, size=pixels)
        print(f"{hub}: {card.network} ({description}), with its model card")
        print(f"next: read {hub / PAGE}; hf upload YOUR_NAME/MODEL {quote(str(hub))}")
    if out is None:
        return
    card = write(network, description, classes, weights, out, size=pixels, onnx=onnx)
    print(f"{out}: {card.network} ({description})")
    if card.onnx:
        print(
            f"onnx: {', '.join(card.onnx.free) or 'nothing'} free; largest deviation of "
            f"onnxruntime from torch {card.onnx.deviation:.2g}"
        )
    weights_file = quote(str(out / WEIGHTS))
    print(f"next: bench predict IMAGES --checkpoint {weights_file} --out DIR; read {out / CARD}")
