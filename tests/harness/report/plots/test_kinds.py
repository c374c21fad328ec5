"""Every kind of figure, of the same records: files, names, errors."""

import os
from typing import get_args

import pytest
from fake_records import (
    FOUR_SCORES,
    fake_cost,
    fake_record,
    fake_training,
    four_methods,
    without_labels,
)

from harness.analysis.comparison import comparison
from harness.cli.figures import Kind
from harness.errors import BenchError
from harness.records.schema import Golden, TeacherCost
from harness.report.plots import kinds, style
from harness.report.plots.confusion import shares_of
from harness.report.plots.curves import learning, read_log
from harness.report.plots.style import as_bytes, save, short, styled

DRAWN = [kind for kind in kinds.KINDS if kind != "qualitative"]


def taught():
    """Dualkd with two sizes of teacher, beside four methods."""
    made = []
    for network, size in (("mini_s", 1.2), ("mini_l", 7.6)):
        teacher = TeacherCost(
            network=network, parameters_m=size, weights_id="1" * 10, miou=31.0,
            training=fake_training(),
        )  # fmt: skip
        reference = [{"network": network, "weights_id": "1" * 10}]
        made += [
            fake_record("dualkd", seed, 33 + seed, cost=fake_cost([teacher]), teachers=reference)
            for seed in (0, 1, 2)
        ]
    return [*four_methods(), *made]


def test_the_command_line_names_every_kind():
    assert list(get_args(Kind)) == list(kinds.KINDS)


@pytest.mark.parametrize(
    ("kind", "suffix"), [("cost", ".svg"), ("gain", ".png"), ("classes", ".pdf")]
)
def test_equal_records_give_equal_files(kind, suffix):
    contents = []
    for _ in range(2):
        with styled():
            figure = kinds.figures(kind, comparison(taught()), 3.35)[0].figure
            contents.append(as_bytes(figure, suffix))
    assert contents[0] == contents[1]
    start = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}[suffix]
    assert contents[0].startswith(start)


@pytest.mark.parametrize("kind", DRAWN)
def test_every_text_lies_within_the_figure(kind):
    with styled():
        for _, figure in kinds.figures(kind, comparison(taught())[:1], 3.35)[:2]:
            figure.draw_without_rendering()
            shown = [*figure.texts, *(t for legend in figure.legends for t in legend.get_texts())]
            for axes in figure.axes:
                shown += [*axes.texts, axes.xaxis.label, axes.yaxis.label]
                if kind in ("gain", "classes", "confusion"):  # names, not numbers off the axis
                    shown += axes.get_yticklabels()
            for text in filter(lambda text: text.get_text(), shown):
                box, inside = text.get_window_extent(), figure.bbox.padded(1.5)
                assert inside.contains(box.x0, box.y0), text.get_text()
                assert inside.contains(box.x1, box.y1), text.get_text()


def test_a_figure_a_table_and_none_of_what_is_not_comparable():
    tables = comparison([*four_methods(), *four_methods(scenario="synthia2cs")])
    with styled():
        names = [one.name for one in kinds.figures("gain", tables, 3.35)]
    assert names == ["gta2cs-tiny", "synthia2cs-tiny"]


def test_tables_of_one_scenario_and_profile_have_files_of_their_own():
    tables = comparison([*four_methods(), *four_methods(profile={"iterations": 400})])
    assert kinds.stems(tables) == ["gta2cs-tiny", "gta2cs-tiny-t2"]


def test_a_name_of_a_stranger_makes_no_path():
    record = fake_record("../../etc/x", student="a/b")
    (one,) = kinds.figures("confusion", comparison([record]), 3.35)
    assert os.sep not in one.name
    assert ".." not in one.name


def test_source_only_alone_is_told_that_a_method_is_missing():
    with styled(), pytest.raises(BenchError, match="no method beside source_only with the same"):
        kinds.figures("gain", comparison([fake_record()]), 3.35)


@pytest.mark.parametrize("kind", ["gain", "teachers"])
def test_what_no_record_says_is_an_error_with_a_remedy(kind):
    with styled(), pytest.raises(BenchError, match="run "):
        kinds.figures(kind, comparison([fake_record()]), 3.35)


def test_a_taught_student_stands_above_source_only_that_trained_as_long():
    runs = []
    for length, miou in ((1, 20.0), (2, 26.0)):
        profile = {"length": length, "iterations": 800 * length}
        runs.append(fake_record("source_only", 0, miou, profile=profile))
    taught_one = next(record for record in taught() if record.spec.teachers)
    spec = taught_one.spec.model_copy(update={"profile": runs[1].spec.profile})
    runs.append(taught_one.model_copy(update={"spec": spec}))
    with styled():
        (one,) = kinds.figures("teachers", comparison(runs), 3.35)
    floors = [line for line in one.figure.axes[0].lines if line.get_linestyle() == ":"]
    assert [list(line.get_ydata()) for line in floors] == [[26.0, 26.0]]


def test_each_student_stands_beside_its_own_teacher():
    """Two teachers of one network, one of them trained for longer, are two stars."""
    records = taught()
    longer = []
    for record in records:
        if record.spec.teachers and record.spec.teachers[0]["network"] == "mini_l":
            teacher = record.cost.teachers[0].model_copy(update={"miou": 20.0})
            cost = record.cost.model_copy(update={"teachers": [teacher]})
            profile = record.spec.profile.model_copy(update={"teacher_iterations": 1600})
            spec = record.spec.model_copy(update={"profile": profile})
            made = record.model_copy(update={"spec": spec, "cost": cost, "run_id": spec.run_id})
            longer.append(made)
    with styled():
        (one,) = kinds.figures("teachers", comparison([*records, *longer]), 3.35)
    stars = [line for line in one.figure.axes[0].lines if line.get_marker() == "*"]
    values = sorted(float(y) for line in stars for y in line.get_ydata())
    assert values == [20.0, 31.0, 31.0]


@pytest.mark.parametrize("kind", [k for k in kinds.KINDS if k not in ("curves", "qualitative")])
def test_without_labels_there_is_no_empty_figure_but_a_reason(kind):
    tables = comparison(map(without_labels, four_methods()))
    with styled(), pytest.raises(BenchError, match="target has no labels"):
        kinds.figures(kind, tables, 3.35)


def test_the_gains_beyond_chance_are_filled_and_sorted():
    with styled():
        (one,) = kinds.figures("gain", comparison(four_methods()), 3.35)
    axes = one.figure.axes[0]
    labels = [text.get_text() for text in axes.get_yticklabels()]
    assert labels == ["daformer (3)", "dualkd (3)", "oracle (3)"]
    markers = [line for line in axes.lines if line.get_marker() == "o"]
    assert [line.get_markerfacecolor() != "white" for line in markers] == [False, True, True]


def test_confusion_is_a_share_of_the_label_over_all_seeds():
    runs = [
        fake_record("daformer", seed, miou) for seed, miou in enumerate(FOUR_SCORES["daformer"])
    ]
    names, shares = shares_of(runs)
    assert names[0] == "road"
    assert sum(shares[0]) == pytest.approx(100)
    assert shares[0][0] == pytest.approx(100 * 11 / 29)


@pytest.mark.parametrize("matrix", [[], [[1, 2], [3]], [[-1, 2], [3, 4]], [[2**70, 1], [1, 1]]])
def test_a_matrix_that_is_none_is_refused(matrix):
    record = fake_record()
    record.metrics.student.confusion = matrix
    with pytest.raises(BenchError, match="confusion matrix"):
        shares_of([record])


def test_curves_come_from_the_log_then_from_the_record(tmp_path):
    record = fake_record(golden=Golden(losses={"source": [(0, 2.0), (799, 0.5)]}, held_mib=[]))
    old = fake_record("daformer")
    assert learning(record, tmp_path).curves["source"] == [(0, 2.0), (799, 0.5)]
    assert learning(old, None).curves["source"] == [(0, 2.5), (1, 2.25)]
    assert "older" in learning(old, None).origin
    folder = tmp_path / "artifacts" / record.spec.weights_id
    folder.mkdir(parents=True)
    (folder / "log.jsonl").write_text('{"step": 50, "source": 1.5}\n{"step": 100, "source": 1.0}\n')
    assert learning(record, tmp_path).curves == {"source": [(50, 1.5), (100, 1.0)]}


def test_a_loss_that_is_no_number_is_left_out():
    losses = {"source": [2.5, float("nan")], "mixed": [float("inf")]}
    assert learning(fake_record(losses=losses), None).curves == {"source": [(0, 2.5)]}


def test_a_strange_log_costs_its_strange_lines_only(tmp_path):
    log = tmp_path / "log.jsonl"
    lines = [
        '{"step": 1, "a": 2}', '{"step"', "[1]", '{"step": "x", "a": 1}', '{"step": 1e999, "a": 1}',
        f'{{"step": 3, "a": 1{"0" * 400}}}', '{"step": 2, "a": NaN}',
    ]  # fmt: skip
    log.write_text("\n".join(lines))
    assert read_log(log) == {"a": [(1, 2.0)]}
    assert read_log(tmp_path / "none") == {}


def test_a_long_name_is_cut_and_made_harmless():
    assert short("a\n\x1b[31mb") == "a [31mb"
    assert len(short("x" * 99)) == 34
    one, other = (
        short(f"source_only x2, timm:tf_efficientnet_{n}:topdown") for n in ("lite0", "lite1")
    )
    assert one != other


def test_a_dollar_sign_is_no_formula(tmp_path):
    record = fake_record("a$x_{$", 0, 30)
    with styled():
        (one,) = kinds.figures("cost", comparison([record]), 3.35)
        save(one.figure, tmp_path / "x.svg")
    assert (tmp_path / "x.svg").stat().st_size > 1000


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_letters_that_the_font_lacks_are_said_once_in_a_line_of_ours(suffix, caplog, recwarn):
    """matplotlib warned once a letter and figure, with a line of this project's code."""
    style._tell_lacking.cache_clear()
    (table,) = comparison([fake_record("道路", 0, 30.0)])
    with styled():
        for _, figure in kinds.figures("cost", [table], 3.35):
            as_bytes(figure, suffix)
            as_bytes(figure, suffix)
    assert caplog.messages == ["the font of figures has no 路道: boxes stand there instead"]
    assert not [w for w in recwarn if "Glyph" in str(w.message)]


def test_letters_that_stay_text_are_not_said_to_lack(caplog):
    (table,) = comparison([fake_record("道路", 0, 30.0)])
    with styled(svg_text=True):
        for _, figure in kinds.figures("cost", [table], 3.35):
            assert "道路".encode() in as_bytes(figure, ".svg")
    assert not caplog.messages
