"""Write a static report: pages, plots, images, its style and script. It needs no network."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.analysis.comparison import Table, comparison
from harness.analysis.rows import with_length
from harness.data.classes import colourise
from harness.errors import BenchError
from harness.files import folder_replaced_whole, write_text
from harness.records.schema import Record, unlabelled
from harness.report.cells import NONE, number
from harness.report.columns import MEMORY_NOTES, memory_notes
from harness.report.plots import kinds
from harness.report.plots.confusion import shares_of
from harness.report.plots.curves import LOGGED, MIOU, SPEED, Curves, draw_runs, learning
from harness.report.plots.qualitative import Example, classes_in
from harness.report.plots.style import WIDTHS, save, styled
from harness.report.site.pages import Sheet, class_sheet, comparison_sheet, flat, percent
from harness.report.site.reproduce import reproduction
from harness.text import plain

if TYPE_CHECKING:
    import jinja2

#: Says that a folder is a report, which another may replace.
MARK = "uda-bench-report.txt"
#: What lies at the top of a report; beside files of others it is not replaced.
NAMES = {MARK, "index.html", "static", "tables", "plots", "runs"}
#: Kinds of figures that a table's page shows; those that its records lack are left out.
SHOWN = ("gain", "cost", "speed", "teachers", "classes")
Say = Callable[[int, int], None]


def build(
    records: Sequence[Record],
    out: Path,
    *,
    results: Path | None = None,
    examples: Mapping[str, Sequence[Example]] | None = None,
    progress: Say = lambda done, total: None,
) -> None:
    """Write the report of records into a folder, whole or not at all.

    results: where logs of trainings are looked for. examples: of a run, by its id, images with that
    run's prediction alone. BenchError where the folder holds anything but an earlier report.
    """
    with folder_replaced_whole(out, "--out", "report", NAMES, _is_ours) as building:
        tables = comparison(records)
        writer = _Writer(building, results, examples or {})
        total = len(tables) + sum(len(runs) for t in tables for runs in t.runs.values())
        for done, _ in enumerate(writer.write(tables), 1):
            progress(done, total)


def _is_ours(folder: Path) -> bool:
    return (folder / MARK).is_file()


def environment() -> jinja2.Environment:
    """Templates that escape every text and show none of its unseen characters."""
    import jinja2

    def harmless(value: Any) -> Any:
        is_markup = hasattr(value, "__html__")
        return plain(value) if isinstance(value, str) and not is_markup else value

    made = jinja2.Environment(
        loader=jinja2.PackageLoader("harness.report.site"),
        autoescape=True,
        finalize=harmless,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    made.filters["breaking"] = breaking
    return made


#: Where a name may break: not before a single letter (img/s), nor before a file's short suffix.
_BREAKS = r"(?<=[_+:/=,])(?=[^\W\d]\w)|(?<=\.)(?=[^\W\d]\w{3})"


def breaking(text: str) -> str:
    """Escaped, and free to end a line after a sign that joins the parts of a name."""
    from markupsafe import Markup

    return Markup("<wbr>").join(re.split(_BREAKS, plain(text)))


class _Writer:
    """Writes pages below a folder."""

    def __init__(
        self, root: Path, results: Path | None, examples: Mapping[str, Sequence[Example]]
    ) -> None:
        self.root, self.results, self.examples = root, results, examples
        self.templates = environment()
        try:
            self.version = version("uda-bench")
        except PackageNotFoundError:
            self.version = ""

    def write(self, tables: Sequence[Table]) -> Iterable[None]:
        """All of it, one step for each table and each run."""
        write_text(self.root / MARK, "A report of uda-bench; `bench report --out` replaces it.\n")
        (self.root / "static").mkdir()
        for file in files("harness.report.site").joinpath("static").iterdir():
            (self.root / "static" / file.name).write_bytes(file.read_bytes())
        stems = kinds.stems(tables)
        runs = [run for table in tables for each in table.runs.values() for run in each]
        self.repeated = {run_id for run_id, n in Counter(r.run_id for r in runs).items() if n > 1}
        shown = [
            {"stem": stem, "heading": table.heading, "failed": table.failed,
             "shared": table.shared, "memory": memory_notes(table.rows),
             "sheet": self._linked(comparison_sheet(table), stem)}
            for table, stem in zip(tables, stems, strict=True)
        ]  # fmt: skip
        methods = len({run.spec.method for run in runs})
        self._page("index.html", "index.html", title="Comparison of methods", tables=shown,
                   runs=len(runs), methods=methods, root="")  # fmt: skip
        with styled(svg_text=True):
            for table, one in zip(tables, shown, strict=True):
                self._table(table, one)
                yield
                for each in table.runs.values():
                    for run in each:
                        self._run(run, table, str(one["stem"]))
                        yield

    def _page(self, template: str, path: str, **values: Any) -> None:
        text = self.templates.get_template(template).render(version=self.version, **values)
        write_text(self.root / path, text)

    def _table(self, table: Table, shown: dict[str, Any]) -> None:
        if not table.rows:
            return
        plots = []
        for kind in SHOWN:
            try:
                (one,) = kinds.figures(kind, [table], WIDTHS["column"])
            except BenchError:  # nothing of that kind in these records
                continue
            file = f"{shown['stem']}-{kind}.svg"
            save(one.figure, self.root / "plots" / file)
            plots.append({"file": file, "caption": kinds.KINDS[kind]})
        self._page("table.html", f"tables/{shown['stem']}.html", title=table.heading, root="../",
                   table=shown | {"notes": table.notes}, plots=plots,
                   classes=self._linked(class_sheet(table), shown["stem"]))  # fmt: skip

    def _page_name(self, run_id: str, stem: str) -> str:
        """Of a run's page; of one that several tables show, as of two devices, a page a table."""
        return f"{run_id}-{stem}" if run_id in self.repeated else run_id

    def _linked(self, sheet: Sheet, stem: str) -> Sheet:
        """The sheet whose lines name their runs' pages."""
        named = [
            line._replace(runs=[(seed, self._page_name(run, stem)) for seed, run in line.runs])
            for line in sheet.lines
        ]
        return sheet._replace(lines=named)

    def _run(self, run: Record, table: Table, stem: str) -> None:
        assert run.metrics is not None
        spec, metrics = run.spec, run.metrics
        known = learning(run, self.results)
        method = with_length(spec.method, spec.profile.length)
        name = f"{method}, {spec.scenario.title}, seed {spec.seed}"
        page, curves = self._page_name(run.run_id, stem), ""
        if known.curves:
            curves = f"{page}-curves.svg"
            save(draw_runs([run], self.results, WIDTHS["column"], name),
                 self.root / "runs" / curves)  # fmt: skip
        confusion, reason = _confusion(run)
        command, note = reproduction(run)
        examples = self.examples.get(run.run_id, ())
        scores = metrics.student.model_dump(mode="json", exclude={"confusion"})
        if metrics.ema_teacher:
            ema = metrics.ema_teacher.model_dump(mode="json", exclude={"confusion", "iou"})
            scores["EMA teacher"] = ema
        if unlabelled(run):  # then no score is a number
            scores = {}
        if metrics.label_free:
            scores["without labels"] = metrics.label_free.model_dump(mode="json", exclude_none=True)
        self._page(
            "run.html", f"runs/{page}.html", title=f"{name} (run {run.run_id})", root="../",
            stem=stem, heading=table.heading, made=run.created, generated=table.generated,
            miou=number(metrics.student.miou, ".1f"), convention=metrics.convention,
            ema=number(metrics.ema_teacher.miou, ".1f") if metrics.ema_teacher else "",
            images=metrics.val_images, command=command, note=note, curves=curves,
            origin=known.origin, curve_data=_panels(known.curves), confusion=confusion,
            no_confusion=reason, scores=[(n, _short_number(v)) for n, v in flat(scores)],
            cost=[(n, _short_number(v)) for n, v in flat(run.cost.model_dump(mode="json"))]
            if run.cost else [],
            memory=MEMORY_NOTES[run.cost.training.memory_kind] if run.cost else "",
            spec=flat(spec.model_dump(mode="json")), provenance=flat(run.provenance),
            examples=self._examples(run.run_id, examples), legend=_legend(examples),
        )  # fmt: skip

    def _examples(self, run_id: str, examples: Sequence[Example]) -> list[dict[str, str]]:
        from PIL import Image

        shown = []
        for index, one in enumerate(examples):
            (prediction,) = one.predictions.values()
            pictures = {"image": one.image, "label": colourise(one.label, one.classes.palette),
                        "prediction": colourise(prediction, one.classes.palette)}  # fmt: skip
            values = {"name": one.name}
            for name, pixels in pictures.items():
                values[name] = f"{run_id}-{index}-{name}.png"
                Image.fromarray(pixels).save(self.root / "runs" / values[name], optimize=True)
            shown.append(values)
        return shown


def _confusion(run: Record) -> tuple[dict[str, Any] | None, str]:
    if unlabelled(run):
        return None, "The target has no labels."
    try:
        names, shares = shares_of([run])
    except BenchError as error:
        return None, str(error)
    lines = [
        [cell._replace(text=cell.text.removesuffix(".0")) for cell in map(percent, line)]
        for line in shares
    ]
    return {"names": names, "lines": lines}, ""


def _legend(examples: Sequence[Example]) -> list[tuple[str, str]]:
    if not examples:
        return []
    classes = examples[0].classes
    return [
        (classes.names[i], "#{:02x}{:02x}{:02x}".format(*classes.palette[i]))
        for i in classes_in(examples)
    ]


def _panels(curves: Curves) -> list[dict[str, Any]]:
    """Curves as uPlot takes them: steps, then a list a name, null where it has no value."""
    panels = {"mIoU %": MIOU, "logged": LOGGED}
    by_title: dict[str, list[str]] = {
        "mIoU %": [],
        "loss terms": [],
        "logged": [],
        "source images/s": [],
    }
    for name in curves:
        title = next((t for t, start in panels.items() if name.startswith(start)), "loss terms")
        by_title["source images/s" if name == SPEED else title].append(name)
    made = []
    for title, names in by_title.items():
        if names:
            steps = sorted({step for name in names for step, _ in curves[name]})
            values = [dict(curves[name]) for name in names]
            data: list[list[Any]] = [steps, *([v.get(step) for step in steps] for v in values)]
            series = [_series_name(name) for name in names]
            made.append({"title": title, "series": series, "data": data})
    return made


def _series_name(name: str) -> str:
    return "speed" if name == SPEED else name.removeprefix(LOGGED).removeprefix(MIOU)


def _short_number(text: str) -> str:
    """A figure as a reader wants it: six digits, no more; `-` for NaN."""
    try:
        if math.isnan(float(text)):
            return NONE
        return f"{float(text):.6g}" if "." in text and "," not in text else text
    except ValueError:
        return text
