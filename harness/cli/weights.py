"""The verbs of `bench` that use weights: eval, predict."""

from __future__ import annotations

import re
from pathlib import Path
from shlex import quote
from typing import Annotated, Literal

import typer

from harness.cli.completion import network_names, profile_names, scenario_names
from harness.cli.grouped import examples
from harness.cli.options import DataRoot, Device, Overrides, Results
from harness.errors import BenchError

app = typer.Typer()

Weights = Annotated[
    str,
    typer.Option(
        "--checkpoint",
        metavar="FILE|RUN",
        help="The weights: a file, a run's folder, or a run's id.",
    ),
]
Student = Annotated[
    str | None,
    typer.Option(
        metavar="NETWORK",
        help="The network that the weights are of.",
        show_default="as the file says",
        autocompletion=network_names,
    ),
]
PartOption = Annotated[
    Literal["student", "ema"],
    typer.Option(help="Which network of a self-training checkpoint (DAFormer, HRDA, MIC) to use."),
]


@app.command(
    "eval",
    epilog=examples(
        "bench eval --checkpoint 0123456789",
        "bench eval --checkpoint b5.pth --student daformer_mitb5 --scenario gta2cs",
        "bench eval --checkpoint 0123456789 --on cityscapes,bdd100k,mapillary",
    ),
)
def eval_(
    checkpoint: Weights,
    scenario: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The scenario to score on; `bench list scenarios` lists them.",
            show_default="the run's own",
            autocompletion=scenario_names,
        ),
    ] = None,
    on: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,FILE,...",
            help="Score on these data sets instead, a column each: names or TOML files, and "
            "NAME:SPLIT for another split than val.",
            show_default="the scenario's own",
        ),
    ] = None,
    student: Student = None,
    part: PartOption = "student",
    profile: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The profile whose image sizes, windows and test-time augmentation are used.",
            autocompletion=profile_names,
            show_default="the run's own; else paper with real data, else tiny",
        ),
    ] = None,
    set_: Overrides = None,
    data_root: DataRoot = None,
    results: Results = Path("runs"),
    device: Device = None,
    format_: Annotated[
        Literal["rich", "markdown", "json"],
        typer.Option("--format", help="The form of the scores; rich is for a terminal."),
    ] = "rich",
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the scores here too, as JSON."),
    ] = None,
) -> None:
    """Score a checkpoint on a scenario's validation images, or on several data sets."""
    from rich.console import Console

    from harness.files import check_output_file, write_text
    from harness.measure.environment import choose_device
    from harness.records import store
    from harness.report import formats
    from harness.report.outcome import next_line
    from harness.report.progress import Reporter
    from harness.weights.find import find_checkpoint
    from harness.weights.score import Question, evaluate_checkpoint, evaluation_grids
    from harness.weights.score_several import evaluate_on_several, several_grids

    if out:
        check_output_file("--out", out)
    question = Question(
        find_checkpoint(checkpoint, results, part),
        scenario=scenario,
        profile=profile,
        student=student,
        part=part,
        overrides=tuple(set_ or ()),
        data_root=data_root,
        on=() if on is None else tuple(on.split(",")),
    )
    # Of the other formats nothing but the result goes to the standard output.
    report = Reporter(Console(stderr=format_ != "rich"))
    if question.on:
        evaluations = evaluate_on_several(question, choose_device(device), report)
        text, grids = store.as_json_list(evaluations), several_grids(evaluations)
    else:
        evaluation = evaluate_checkpoint(question, choose_device(device), report)
        text, grids = store.as_json(evaluation), evaluation_grids(evaluation)
    if out:
        write_text(out, text)
    if format_ == "json":
        print(text, end="")
    for grid in grids if format_ != "json" else ():
        if format_ == "markdown":
            print(formats.markdown(grid))
        else:
            formats.print_grid(grid, report.console, "--format markdown")
    weights = f"--checkpoint {quote(checkpoint)}"
    weights += f" --student {quote(student)}" if student else ""
    weights += f" --part {part}" if part != "student" else ""
    followed = (f"bench {verb} {weights} --out DIR" for verb in ("predict IMAGES", "export"))
    report.say(next_line(results, *followed))


@app.command(
    "predict",
    epilog=examples(
        "bench predict photo.png --checkpoint 0123456789 --out predictions",
        "bench predict photos --checkpoint 0123456789 --out out --as overlay",
    ),
)
def predict_(
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGES", help="Files, or folders of them.")
    ],
    checkpoint: Weights,
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder for the PNG files.")],
    as_: Annotated[
        Literal["palette", "overlay", "side", "labelids", "trainids"],
        typer.Option(
            "--as",
            help="What to write: palette, the classes in their colours; overlay, those over the "
            "image; side, image and prediction side by side, and the label with --truth; "
            "labelids, which Cityscapes' evaluation script takes; or trainids.",
        ),
    ] = "palette",
    truth: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="For --as side: the folder of the images' labels, IMAGE.png or "
            "IMAGE_labelIds.png, in the label ids of the weights' classes; in train ids where "
            "these have none.",
            show_default="none: image and prediction",
        ),
    ] = None,
    student: Student = None,
    part: PartOption = "student",
    size: Annotated[
        str | None,
        typer.Option(
            metavar="WxH",
            help="The size that images are resized into for the network. Predictions have the "
            "size of their image.",
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
    """Write a checkpoint's predictions for images as PNG files."""
    from rich.console import Console

    from harness.data.walk import noting_left_out
    from harness.evaluation.inference import Views
    from harness.files import check_output_folder
    from harness.measure.environment import choose_device
    from harness.report.figures import legend
    from harness.report.progress import Reporter
    from harness.training.precision import set_float32
    from harness.weights.checkpoint_classes import classes_in
    from harness.weights.find import find_checkpoint, load_network, network_name, own_size
    from harness.weights.predict import (
        COLOURED,
        LEGEND,
        check_rendering,
        plan_predictions,
        predict,
        save,
        with_truth,
    )

    check_output_folder("--out", out)
    weights = find_checkpoint(checkpoint, results, part)
    name = network_name(weights, student)
    spec = weights.record.spec if weights.record else None
    views = Views.of(spec.profile) if spec else Views()
    views = views.changed(
        slide=slide.split(",") if slide else None,
        flip=flip,
        scales=scales.split(",") if scales else None,
    )
    pixels = width_and_height(size) or own_size(weights)
    with noting_left_out() as left_out:
        tasks = plan_predictions(images, out, as_)
    if truth:
        if as_ != "side":
            raise BenchError(f"--truth {truth}: expected --as side with it.")
        tasks = with_truth(tasks, truth)
    torch_device = choose_device(device)
    set_float32(spec.profile.tf32 if spec else False)  # as the run scored it
    classes = classes_in(weights)
    check_rendering(as_, classes)
    network, description = load_network(weights, name, len(classes), part)
    report = Reporter(Console())
    report.say(f"{weights.path.name}: {description}, as {network.name}")
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
    if as_ in COLOURED:
        save(legend(classes), out / LEGEND)
        report.say(f"{out / LEGEND}: the classes' colours")
    if left_out:
        report.say(f"left out: {left_out}")


def width_and_height(text: str | None) -> tuple[int, int] | None:
    """What --size says. BenchError where it says none."""
    if text is None:
        return None
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if not match:
        raise BenchError(f"--size {text}: expected WIDTHxHEIGHT, such as 1024x512.")
    return int(match[1]), int(match[2])
