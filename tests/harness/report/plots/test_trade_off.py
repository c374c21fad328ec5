import pytest
from fake_records import fake_cost, fake_provenance, fake_record, four_methods

from harness.analysis.comparison import comparison
from harness.errors import BenchError
from harness.report.plots.style import WIDTHS, styled
from harness.report.plots.trade_off import COST, INFERENCE, SPEED, draw, pareto_front


def test_the_front_holds_what_no_other_point_beats():
    points = [(1, 10), (2, 30), (3, 20), (4, 40), (4, 35)]
    assert pareto_front(points, less_is_better=True) == [(1, 10), (2, 30), (4, 40)]
    assert pareto_front(points, less_is_better=False) == [(4, 40)]
    assert pareto_front([(1, 10), (2, 10)], less_is_better=True) == [(1, 10)]


def records_of(count, **names):
    return [
        fake_record("dualkd", seed, 30 + i / 3 + seed, config={"lambda_kd": float(i + 1), **names},
                    cost=fake_cost(wall_seconds=40 + 7 * (i % 5)))
        for i in range(count)
        for seed in (0, 1)
    ]  # fmt: skip


@pytest.mark.parametrize(("axis", "count"), [(COST, 1), (SPEED, 3), (COST, 19)])
def test_no_text_leaves_the_figure_and_no_name_covers_a_point(axis, count):
    (table,) = comparison([*four_methods(), *records_of(count)])
    with styled():
        figure = draw(table, axis, WIDTHS["column"])
        figure.draw_without_rendering()
        frame = figure.bbox.padded(1)
        shown = [
            *figure.axes[0].texts, figure._suptitle,
            *(text for legend in figure.legends for text in legend.get_texts()),
        ]  # fmt: skip
        for text in shown:
            box = text.get_window_extent()
            assert frame.fully_contains(box.x0, box.y0), text.get_text()
            assert frame.fully_contains(box.x1, box.y1), text.get_text()
        if count < 19:  # of the fake's, points lie on one another: names may not
            boxes = [t.get_window_extent() for t in figure.axes[0].texts if t.get_text()]
            assert not [1 for i, a in enumerate(boxes) for b in boxes[:i] if a.overlaps(b)]


def test_the_oracle_is_on_no_front():
    (table,) = comparison(four_methods())
    with styled():
        axes = draw(table, COST, 3.35).axes[0]
    front = next(line for line in axes.lines if str(line.get_label()).startswith("Pareto"))
    oracle = next(row for row in table.rows if row.method == "oracle")
    assert oracle.miou.mean not in list(front.get_ydata())


def test_records_without_a_speed_are_said_to_lack_it():
    cost = fake_cost().model_copy(update={"inference": None})
    (table,) = comparison([fake_record(cost=cost)])
    with styled(), pytest.raises(BenchError, match="inference speed"):
        draw(table, INFERENCE, 3.35)


def test_points_of_several_machines_are_said_to_be_so():
    def x_label(records):
        (table,) = comparison(records)
        with styled():
            return draw(table, COST, WIDTHS["column"]).axes[0].get_xlabel()

    elsewhere = fake_record("mic", 0, 30, provenance=fake_provenance("Other CPU"))
    assert "machines" not in x_label(four_methods())
    assert x_label([*four_methods(), elsewhere]).endswith("\nof 2 machines: Other CPU, Test CPU")


@pytest.mark.parametrize("seconds", [[114], [62, 65, 68], [12.1, 17.3], [0.7, 0.71], [40, 400]])
def test_the_axis_of_a_point_or_of_near_ones_has_numbers(seconds):
    """No round number lay between them: the axis was bare."""
    runs = [
        fake_record("dacs", 0, 30.0 + i, config={"lambda_kd": float(i)},
                    cost=fake_cost(wall_seconds=value))
        for i, value in enumerate(seconds)
    ]  # fmt: skip
    (table,) = comparison(runs)
    with styled():
        figure = draw(table, COST, WIDTHS["column"])
        figure.draw_without_rendering()
        axis = figure.axes[0].xaxis
        left, right = figure.axes[0].get_xlim()
        shown = [label.get_text() for label in axis.get_ticklabels()]
        texts = [t for t, x in zip(shown, axis.get_ticklocs(), strict=True) if left <= x <= right]
    assert len(texts) >= 2
    assert len(set(texts)) == len(texts)
