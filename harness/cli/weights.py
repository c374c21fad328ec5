"""The verbs of `bench` that work on weights: eval, predict, export."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import typer

from harness.cli.options import DataRoot, Device, Overrides, Results
from harness.errors import BenchError

app = typer.Typer()

Weights = Annotated[
    str,
    typer.Option(
        "--checkpoint",
        metavar="FILE|RUN",
        help="Weights in any format that is read, a run's folder, or a run's id.",
    ),
]
Student = Annotated[
    str | None,
    typer.Option(help="The network they are of.", show_default="as the file says"),
]
PartOption = Annotated[
    Literal["student", "ema"],
    typer.Option(help="Which network of a self-training checkpoint (DAFormer, HRDA, MIC)."),
]


@app.command("eval")
def eval_(
    checkpoint: Weights,
    scenario: Annotated[
        str | None,
        typer.Option(help="See `bench list scenarios`.", show_default="the run's own"),
    ] = None,
    student: Student = None,
    part: PartOption = "student",
    profile: Annotated[
        str | None,
        typer.Option(
            help="Sizes, slide and test-time augmentation.",
            show_default="the run's own; else paper with real data, else tiny",
        ),
    ] = None,
    set_: Overrides = None,
    data_root: DataRoot = None,
    results: Results = Path("runs"),
    device: Device = None,
    format_: Annotated[Literal["rich", "markdown", "json"], typer.Option("--format")] = "rich",
    out: Annotated[
        Path | None,
        typer.Option(help="Write the JSON here too.", show_default="nowhere"),
    ] = None,
) -> None:
    """Score a checkpoint on a scenario's validation images: mIoU in every convention, IoU."""
    from rich.console import Console

    from harness.files import write_text
    from harness.measure.environment import choose_device
    from harness.records import store
    from harness.report import formats
    from harness.report.progress import Reporter
    from harness.weights.find import find_checkpoint
    from harness.weights.score import Question, evaluate_checkpoint, evaluation_grids

    question = Question(
        find_checkpoint(checkpoint, results, part),
        scenario=scenario,
        profile=profile,
        student=student,
        part=part,
        overrides=tuple(set_ or ()),
        data_root=data_root,
    )
    # Of the other formats nothing but the result goes to the standard output.
    report = Reporter(Console(stderr=format_ != "rich"))
    evaluation = evaluate_checkpoint(question, choose_device(device), report)
    if out:
        write_text(out, store.as_json(evaluation))
    if format_ == "json":
        print(store.as_json(evaluation), end="")
    for grid in evaluation_grids(evaluation) if format_ != "json" else ():
        if format_ == "markdown":
            print(formats.markdown(grid))
        else:
            formats.print_grid(grid, report.console)


@app.command("predict")
def predict_(
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of them.")],
    checkpoint: Weights,
    out: Annotated[Path, typer.Option(help="Folder for the PNG files.")],
    as_: Annotated[
        Literal["palette", "overlay", "labelids", "trainids"],
        typer.Option(
            "--as",
            help="Classes in their colours, those over the image, Cityscapes' label ids (what its "
            "evaluation script takes), or train ids.",
        ),
    ] = "palette",
    student: Student = None,
    part: PartOption = "student",
    size: Annotated[
        str | None,
        typer.Option(
            metavar="WxH",
            help="What images are resized into for the network; predictions have their own size.",
            show_default="the run's own, else the images' own",
        ),
    ] = None,
    slide: Annotated[
        str | None,
        typer.Option(
            metavar="H,W,H,W",
            help="Predict in windows: crop height, width, stride height, width.",
            show_default="the run's own, else the whole image",
        ),
    ] = None,
    flip: Annotated[
        bool | None,
        typer.Option("--flip/--no-flip", help="Average with the mirrored image's prediction."),
    ] = None,
    scales: Annotated[
        str | None,
        typer.Option(metavar="S,S,...", help="Average over multiples of the size: 0.75,1,1.25."),
    ] = None,
    results: Results = Path("runs"),
    device: Device = None,
) -> None:
    """Write a checkpoint's predictions for images as PNG files of the images' own size."""
    from rich.console import Console

    from harness.data.walk import noting_left_out
    from harness.evaluation.inference import Views
    from harness.measure.environment import choose_device
    from harness.report.progress import Reporter
    from harness.weights.checkpoint_classes import classes_in
    from harness.weights.find import find_checkpoint, load_network, network_name, own_size
    from harness.weights.predict import check_rendering, plan_predictions, predict

    weights = find_checkpoint(checkpoint, results, part)
    name = network_name(weights, student)
    spec = weights.record.spec if weights.record else None
    views = Views.of(spec.profile) if spec else Views()
    views = views.changed(
        slide=slide.split(",") if slide else None,
        flip=flip,
        scales=scales.split(",") if scales else None,
    )
    pixels = _width_and_height(size) or own_size(weights)
    with noting_left_out() as left_out:
        tasks = plan_predictions(images, out, as_)
    torch_device = choose_device(device)
    classes = classes_in(weights)
    check_rendering(as_, classes)
    network, description = load_network(weights, name, len(classes), part)
    report = Reporter(Console())
    report.say(f"{weights.path.name}: {description}, as {name}")
    with report.counting("predicting") as progress:
        predict(
            network.to(torch_device),
            tasks,
            as_,
            classes,
            size=pixels,
            views=views,
            device=torch_device,
            precision=spec.profile.precision if spec else "fp32",
            progress=progress,
        )
    report.say(f"{out}: {len(tasks)} images as {as_}")
    if left_out:
        report.say(f"left out: {left_out}")


@app.command()
def export(
    checkpoint: Weights,
    out: Annotated[Path, typer.Option(help="Folder for student.safetensors, .json and .onnx.")],
    student: Student = None,
    part: PartOption = "student",
    onnx: Annotated[
        bool, typer.Option("--onnx/--no-onnx", help="Write ONNX too, checked with onnxruntime.")
    ] = True,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="WxH",
            help="Image size to export and check at.",
            show_default="the run's own, else 1024x512",
        ),
    ] = None,
    results: Results = Path("runs"),
) -> None:
    """Write a student for use elsewhere: safetensors, ONNX, and a JSON on how to use them."""
    from harness.weights.checkpoint_classes import classes_in
    from harness.weights.export import export as write
    from harness.weights.find import find_checkpoint, load_network, network_name, own_size

    weights = find_checkpoint(checkpoint, results, part)
    pixels = _width_and_height(size) or own_size(weights) or (1024, 512)
    classes, name = classes_in(weights), network_name(weights, student)
    network, description = load_network(weights, name, len(classes), part)
    card = write(network, description, classes, weights, out, size=pixels, onnx=onnx)
    print(f"{out}: {card.network} ({description})")
    if card.onnx:
        print(
            f"onnx: {', '.join(card.onnx.free) or 'nothing'} free; largest deviation of "
            f"onnxruntime from torch {card.onnx.deviation:.2g}"
        )


def _width_and_height(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if not match:
        raise BenchError(f"--size {text}: expected WIDTHxHEIGHT, such as 1024x512.")
    return int(match[1]), int(match[2])
