"""`bench compare`: one method against another, in a sentence and by class, or everywhere."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from harness.cli.completion import network_names, scenario_names
from harness.cli.grouped import examples
from harness.cli.options import (
    DataRoot,
    Plugins,
    ProfileName,
    Records,
    Results,
    Student,
    SuiteName,
)
from harness.cli.selection import select
from harness.errors import BenchError

if TYPE_CHECKING:
    from harness.records.schema import Record

app = typer.Typer()


@app.command(
    epilog=examples(
        "bench compare source_only dualkd --scenario gta2cs",
        "bench compare daformer dualkd results/records --format markdown",
        "bench compare daformer dualkd --scenario gta2cs --length 2 --network ema",
        "bench compare dualkd:teacher_training=source dualkd:teacher_training=adabn",
    )
)
def compare(
    a: Annotated[
        str,
        typer.Argument(
            metavar="A",
            help="A method, of some settings as METHOD:KEY=VALUE,KEY=VALUE; a run id; or a file of "
            "records.",
        ),
    ],
    b: Annotated[str, typer.Argument(metavar="B", help="The same; it is held against the first.")],
    records_: Records = None,
    format_: Annotated[
        Literal["rich", "markdown", "json", "sentence"],
        typer.Option(
            "--format",
            help="The form of the answer; rich is for a terminal, sentence has no table by class.",
        ),
    ] = "rich",
    scenario: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Take only runs on this scenario.", autocompletion=scenario_names
        ),
    ] = None,
    profile: ProfileName = None,
    student: Student = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            metavar="NETWORK",
            help="Take only runs with this teacher, and those with none.",
            autocompletion=network_names,
        ),
    ] = None,
    length: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Take only schedules N times as long as the profile's."
        ),
    ] = None,
    network: Annotated[
        Literal["student", "ema", "both"] | None,
        typer.Option(
            help="Whose scores are compared: students', EMA teachers' (a method without one is "
            "held against one by its student), or both in a table.",
            show_default="student; both where runs make a table",
        ),
    ] = None,
    suite: SuiteName = None,
    plugin: Plugins = None,
    data_root: DataRoot = None,
    results: Results = Path("runs"),
) -> None:
    """Compare two methods: the gain of B over A, its interval and cost, then by class.

    Runs of several scenarios, schedules or settings make a table, a comparison a line.

    The deviation of a run is that of every comparable record found, as in `bench table`.
    """
    from harness.analysis.match_ups import match_ups
    from harness.report.versus import show

    matching, _, where = select(
        records_,
        results,
        data_root,
        scenarios=[scenario] if scenario else None,
        profile=profile,
        student=student,
        suite=suite,
    )
    kept = [
        r
        for r in matching
        if (teacher is None or _has_teacher(r, teacher)) and length in (None, r.spec.profile.length)
    ]
    found = [
        replace(m, labels=(_named(a, m.labels[0]), _named(b, m.labels[1])))
        for m in match_ups((a, b), _runs(a, kept, where), _runs(b, kept, where))
    ]
    show(found, kept, network, format_)


def _has_teacher(record: Record, network: str) -> bool:
    networks = [
        reference.get("network") for reference in (*record.spec.teachers, *record.spec.companions)
    ]
    return not networks or network in networks


def _settings(name: str) -> tuple[str, dict[str, str]]:
    """`METHOD:KEY=VALUE,KEY=VALUE` as the method's name and its settings; any other name alone."""
    method, colon, settings = name.partition(":")
    if not colon or not re.match(r"\w+=", settings):
        return name, {}
    parts = re.split(r",(?=\w+=)", settings)
    return method, {key: value for key, _, value in (part.partition("=") for part in parts)}


def _named(name: str, label: str) -> str:
    """The label, with the settings that the user gave."""
    method, settings = _settings(name)
    if not settings or label.startswith(f"{method} ("):
        return label
    said = ", ".join(f"{key}={value}" for key, value in settings.items())
    return label.replace(method, f"{method} ({said})", 1)


def _set_to(record: Record, key: str) -> str | None:
    """A knob of a run's method, or of its profile, as one would type it; None: it has no such."""
    from methods.registry import load

    spec = record.spec
    values = spec.profile.model_dump(mode="json") | spec.method_config
    if key not in values:  # added after the record, or left out at its default
        try:
            field = load(spec.method).Config.model_fields.get(key)
        except (KeyError, ValueError):  # a plug-in's method that is not here, or not whole
            field = None
        if field is None or field.is_required():
            return None
        values[key] = field.get_default(call_default_factory=True)
    value = values[key]
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value)


def _is_set(record: Record, key: str, value: str) -> bool:
    found = _set_to(record, key)
    if found == value:
        return True
    try:
        return found is not None and float(found) == float(value)
    except ValueError:
        return False


def _runs(name: str, records: list[Record], where: str) -> list[Record]:
    """The done runs that a name on the command line stands for. BenchError for none."""
    from harness.records import store
    from methods.registry import canonical

    name, settings = _settings(name)
    if name.endswith(".json") or Path(name).is_file():
        matching = store.read_all([Path(name)])
        where = name
    else:
        is_run_id = re.fullmatch(r"[0-9a-f]{10}", name)
        method = canonical(name)
        matching = [r for r in records if name == r.run_id] if is_run_id else []
        matching = matching or [r for r in records if r.spec.method == method]
    for key, value in settings.items():
        alike = [r for r in matching if _is_set(r, key, value)]
        if matching and not alike:
            found = sorted({text for r in matching if (text := _set_to(r, key)) is not None})
            raise BenchError(
                f"{name}:{key}={value}: no run of it; "
                + (f"those in {where} have {key} {', '.join(found)}." if found else "")
                + ("" if found else f"{name} has no knob {key}; `bench info {name}` lists them.")
            )
        matching = alike
    done = [r for r in matching if r.state == "done" and r.metrics]
    if not done:
        methods = ", ".join(sorted({r.spec.method for r in records if r.state == "done"}))
        raise BenchError(
            f"{name}: no done run of it found in {where}"
            + (f", which holds {methods} after the filters" if methods else "")
            + "; a method, a run id or a file of records expected."
        )
    return done
