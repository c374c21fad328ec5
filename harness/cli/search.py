"""`bench search`: knobs by a fixed number of trials a method."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from harness.cli.completion import method_names, network_names, profile_names, scenario_names
from harness.cli.grouped import examples
from harness.cli.options import (
    DEFAULT_PROFILE,
    WEIGHTS,
    DataRoot,
    Device,
    KeepOtherCode,
    Log,
    Overrides,
    Plugins,
    Results,
)
from harness.errors import BenchError, Interrupted

if TYPE_CHECKING:
    import torch
    from rich.console import Console

    from harness.runs.search import MethodSearch

app = typer.Typer()


@app.command(
    epilog=examples(
        "bench search --method mic --scenario gta2cs --space knobs.toml --by oracle",
    )
)
def search(
    method: Annotated[
        list[str],
        typer.Option(
            metavar="NAME",
            help="The method whose knobs are searched. May be given several times: each method "
            "gets the same number of trials.",
            autocompletion=method_names,
        ),
    ],
    scenario: Annotated[
        str,
        typer.Option(metavar="NAME", help="Source and target data.", autocompletion=scenario_names),
    ],
    space: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="A TOML file with a line a knob: lr = {low = 1e-4, high = 1e-2, log = true}, or "
            "mask_ratio = {choices = [0.5, 0.7]}. A method takes those that it has.",
        ),
    ],
    by: Annotated[
        Literal["oracle", "entropy", "infomax", "snd", "agreement"],
        typer.Option(
            help="The figure that trials are compared by: the student's mIoU (oracle, which looks "
            "at the target's labels), or one that needs no labels."
        ),
    ],
    trials: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, help="How many settings of the knobs to try, for each method."
        ),
    ] = 8,
    seeds: Annotated[
        str,
        typer.Option(
            metavar="N,N,...",
            help="Each trial is run on all of these seeds, and compared by their mean.",
        ),
    ] = "100",
    held_out: Annotated[
        str | None,
        typer.Option(
            metavar="N,N,...",
            help="At the end, run the best trial's knobs on these other seeds as well.",
            show_default="none",
        ),
    ] = None,
    sampler_seed: Annotated[
        int,
        typer.Option(
            metavar="N", min=0, max=2**32 - 1, help="The seed of the random draws of knobs."
        ),
    ] = 0,
    profile: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Image sizes, schedule and default networks.",
            show_default=DEFAULT_PROFILE,
            autocompletion=profile_names,
        ),
    ] = None,
    student: Annotated[
        str | None,
        typer.Option(
            metavar="NETWORK",
            help="The network that is trained and scored.",
            show_default="the profile's",
            autocompletion=network_names,
        ),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            metavar="NETWORK",
            help="The teacher's network, for methods that have one.",
            show_default="one size up",
            autocompletion=network_names,
        ),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(metavar=WEIGHTS, help="Weights that the student's encoder starts from."),
    ] = None,
    set_: Overrides = None,
    plugin: Plugins = None,
    data_root: DataRoot = None,
    results: Results = Path("runs"),
    log: Log = None,
    device: Device = None,
    keep_other_code: KeepOtherCode = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say how many runs and hours it takes; run nothing.")
    ] = False,
) -> None:
    """Search a method's knobs by a fixed number of trials.

    A trial sets the knobs and runs the method, like `bench run`, on each of --seeds. The first
    trial has the method's own values, the next four are random, later ones follow what did well.
    Several methods get the same number of trials; the table shows what they took in seconds. The
    same command goes on with a search that was cut short.
    """
    from rich.console import Console

    from harness.config.planning import Request, find_method, resolve
    from harness.config.search_space import read_space
    from harness.measure.environment import choose_device
    from harness.report.loggers import loggers
    from harness.report.outlasted import outlasted
    from harness.report.progress import Reporter, hashing_shown
    from harness.runs.search import Budget, method_searches, sampling_library
    from harness.runs.search import search as carry_out
    from harness.runs.workplace import Workplace, check_results

    check_results(results)
    sampling_library()
    loggers(log or ())  # refuses a name that is none, and a package that is missing, now
    seen, others = _seeds("--seeds", seeds), _seeds("--held-out", held_out or "")
    if both := sorted(set(seen) & set(others)):
        raise BenchError(
            f"--held-out {held_out}: {both[0]} is a seed of the trials too; expected others."
        )
    budget = Budget(read_space(space), by, trials, seen, others, sampler_seed)
    names = list(dict.fromkeys(method))
    # Of several methods those that have a teacher take it; where none has, each refuses it.
    taught = [name for name in names if "teacher" in find_method(name).Config.model_fields] or names
    requests = [
        Request(
            method=name,
            scenario=scenario,
            profile=profile,
            student=student,
            teacher=teacher if name in taught else None,
            init=init,
            seed=seen[0],
            overrides=tuple(set_ or ()),
        )
        for name in names
    ]
    with hashing_shown():
        searches = method_searches(
            requests, budget, lambda request: resolve(request, data_root, device=device), str(space)
        )
    console = Console()
    workplace = Workplace(results, choose_device(device), Reporter(console), keep_other_code)
    if note := searches[0].plan(searches[0].request).profile_note:
        workplace.report.say(note)
    workplace.report.say(_announced(searches))
    if dry_run:
        workplace.report.say(_cost(searches, workplace.device))
        return
    outlasted(console)
    try:
        with workplace.stop.listening():
            carry_out(searches, workplace, log=log or ())
    except Interrupted:
        done = sum(len(each.trials) for each in searches)
        workplace.report.say(
            f"search interrupted: {done} of {trials * len(searches)} trials are done; the same "
            "command goes on"
        )
        raise
    where = (
        *(("--plugin", str(file)) for file in plugin or ()),
        ("--data-root", str(data_root) if data_root else None),
        ("--results", str(results) if results != Path("runs") else None),
    )
    for each in searches:
        _show(each, console, where)
    if not any(_chosen(each) for each in searches):
        raise BenchError("no trial has a figure: the lines above say what went wrong.")


def _seeds(option: str, text: str) -> tuple[int, ...]:
    from harness.config.schema import Seed

    try:
        from pydantic import TypeAdapter

        parts = [part for part in text.split(",") if part.strip()]
        return tuple(dict.fromkeys(TypeAdapter(list[Seed]).validate_python(parts)))
    except ValueError:
        raise BenchError(
            f"{option} {text}: expected whole numbers from 0, separated by commas, such as 0,1,2."
        ) from None


def _announced(searches: list[MethodSearch]) -> str:
    budget = searches[0].budget
    knobs = "; ".join(f"{name}: {knob}" for name, knob in budget.space.items())
    held_out = f", then {len(budget.held_out)} on held-out seeds" if budget.held_out else ""
    return (
        f"search by {budget.rule} over {knobs}: {budget.trials} trials on seed"
        f"{'s' * (len(budget.seeds) > 1)} {', '.join(map(str, budget.seeds))}{held_out}, for each "
        f"of {len(searches)} method{'s' * (len(searches) > 1)}: {budget.runs * len(searches)} runs"
    )


def _cost(searches: list[MethodSearch], device: torch.device) -> str:
    """About how long all of it takes, by a run of each method as it stands.

    BenchError where its data or its teacher's file is not as it needs it.
    """
    from harness.runs.graph import plan_jobs
    from harness.runs.outlook import training_seconds
    from harness.runs.training import check_what_is_there

    total = 0.0
    for each in searches:
        plan = each.plan(each.request)
        check_what_is_there(plan)
        seconds = training_seconds(plan_jobs([plan]), device).values()
        if None in seconds:
            return "cost: not known, too large to be timed on this machine: ask for --device cuda"
        total += each.budget.runs * sum(value for value in seconds if value is not None)
    return (
        f"about {total / 3600:.1f} hours one after the other on this {device.type}, loading, "
        "scoring and other programs aside, frozen teachers trained in every run"
    )


def _chosen(search: MethodSearch) -> bool:
    from harness.analysis.trials import best

    return best(search.trials, search.budget.rule) is not None


def _show(search: MethodSearch, console: Console, where: Sequence[tuple[str, str | None]]) -> None:
    """The trials as a table, then the best one as a command; `where` are its options of files."""
    from harness.analysis.trials import best, mean_miou
    from harness.report.formats import print_grid
    from harness.report.trials import trials_grid
    from harness.runs.search import overrides

    budget, request = search.budget, search.request
    said = (
        f"Budget: {budget.trials} trials on seeds {', '.join(map(str, budget.seeds))}, the same "
        f"for every method; drawn by {search.sampler}."
    )
    heading = f"{request.method} on {request.scenario}: trials by {budget.rule}, the best first"
    grid = trials_grid(heading, search.trials, budget.rule, mean_miou(search.held_out), said)
    print_grid(grid, console, "a wider terminal")
    if chosen := best(search.trials, budget.rule):
        options = (
            ("--profile", request.profile),
            ("--student", request.student),
            ("--teacher", request.teacher),
            ("--init", request.init),
            *(("--set", setting) for setting in request.overrides),
            *where,
        )
        words = "".join(f" {option} {quote(value)}" for option, value in options if value)
        console.print(
            f"next: bench run --method {request.method} --scenario {request.scenario}{words} "
            f"{overrides(chosen.knobs)}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
