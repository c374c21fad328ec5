import io
import json
from statistics import mean

import pytest
from fake_records import (
    FOUR_SCORES,
    fake_cost,
    fake_provenance,
    fake_record,
    fake_training,
    four_methods,
)
from rich.console import Console

from harness.analysis.comparison import NOT_COMPARABLE, comparison
from harness.analysis.published import PATH, published
from harness.analysis.variants import spelled
from harness.errors import BenchError
from harness.records.schema import TeacherCost
from harness.report.formats import FORMATS, print_rich, render


def test_source_only_first_oracle_last_and_means_over_seeds():
    (table,) = comparison(four_methods())
    assert [row.label for row in table.rows] == ["source_only", "daformer", "dualkd", "oracle"]
    assert table.rows[1].miou.mean == pytest.approx(mean(FOUR_SCORES["daformer"]))
    assert table.rows[1].seeds == (0, 1, 2)


@pytest.mark.parametrize(
    ("change", "in_heading"),
    [
        ({"profile": {"iterations": 400}}, "iterations 400"),
        ({"fingerprint": "beef"}, "source data beef"),
        ({"protocol": 2}, "protocol 2"),
    ],
)
def test_what_is_not_comparable_never_shares_a_table(change, in_heading):
    tables = comparison([fake_record(), fake_record("daformer", **change)])
    assert len(tables) == 2
    assert sum(in_heading in table.heading for table in tables) == 1
    assert all(row.gain is None for table in tables for row in table.rows)


@pytest.mark.parametrize(
    "change",
    [{"description": "other words"}, {"log_every": 7}, {"workers": 0}, {"knobs": {"x": 1}}],
)
def test_what_changes_no_figure_parts_no_tables(change):
    assert len(comparison([fake_record(), fake_record("daformer", profile=change)])) == 1


def test_another_metric_convention_is_another_table():
    other = fake_record("daformer")
    other.metrics.convention = "ignored16"
    assert ["convention all19" in t.heading for t in comparison([fake_record(), other])] == [
        True,
        False,
    ]


def test_each_scenario_has_its_table_and_names_its_convention():
    both = {"all19": 20.0, "rescaled19": 30.0, "ignored16": 31.2}
    records = [
        fake_record(),
        fake_record(scenario="synthia2cs", miou=30, conventions=both),
    ]
    text = render(records, "markdown")
    assert text.count("### ") == 2
    assert "mIoU % (all19, tiny)" in text
    assert "mIoU % (rescaled19, tiny)" in text
    assert "mIoU % (ignored16)" in text
    assert "31.2" in text


@pytest.mark.parametrize("format", FORMATS)
def test_generated_data_is_called_so_in_every_format(format):
    generated = render([fake_record()], format)
    real = render([fake_record(generated=False)], format)
    if format == "csv":
        assert "tiny,all19,True," in generated
        assert "tiny,all19,False," in real
    else:
        words = " ".join(generated.split())
        assert NOT_COMPARABLE in words
        assert NOT_COMPARABLE not in " ".join(real.split())


def test_variants_of_a_method_are_rows_not_seeds():
    records = [
        fake_record("dualkd", 0, 33, config={"lambda_kd": 0.5, "distance": "mse"}),
        fake_record("dualkd", 1, 34, config={"lambda_kd": 1.0, "distance": "mse"}),
    ]
    (table,) = comparison(records)
    assert [row.label for row in table.rows] == ["dualkd (lambda_kd=0.5)", "dualkd (lambda_kd=1)"]


def test_what_most_variants_have_in_common_is_said_once():
    records = [
        fake_record("dualkd", 0, 33, config={"lambda_kd": 1.0, "distance": "mse"}),
        fake_record("dualkd", 1, 33, config={"lambda_kd": 1.0, "distance": "mse"}),
        fake_record("dualkd", 0, 34, config={"lambda_kd": 0.5, "distance": "mse"}),
        fake_record("dualkd", 0, 35, config={"lambda_kd": 1.0, "distance": "kl"}),
    ]
    (table,) = comparison(records)
    assert [(row.label, row.miou.n) for row in table.rows] == [
        ("dualkd", 2),
        ("dualkd (distance=kl)", 1),
        ("dualkd (lambda_kd=0.5)", 1),
    ]
    said = "dualkd, where its row does not say otherwise: distance=mse, lambda_kd=1."
    assert said in table.notes


def test_one_comparison_is_not_called_several():
    runs = [
        fake_record(m, seed, 30 + seed) for m in ("source_only", "daformer") for seed in range(3)
    ]
    assert "corrected over 1 comparison (Holm)" in render(runs, "markdown")


def test_settings_are_spelled_as_they_are_typed():
    values = {"stages": ["2", "fused"], "warm_target": True, "lr": 4e-3, "init": None}
    assert spelled(values) == "stages=[2, fused], warm_target=true, lr=0.004, init=None"


def test_training_speed_is_the_whole_trainings_not_the_median_steps():
    """A method that mixes in the last third is slower than its median step says."""
    mixing = fake_record("daformer", cost=fake_cost(images_per_second=35.0, wall_seconds=100.0))
    images = mixing.spec.profile.iterations * mixing.spec.profile.batch_size
    (grid,) = json.loads(render([mixing], "json"))["measured"]
    assert [row["train_images_per_second"] for row in grid["rows"]] == [images / 100.0]


def test_teachers_and_their_training_are_shown():
    trained = TeacherCost(
        network="mini-b2", parameters_m=2.4, weights_id="1" * 10, training=fake_training()
    )
    reference = [{"network": "mini-b2", "weights_id": "1" * 10}]
    kd = fake_record("dualkd", cost=fake_cost([trained]), teachers=reference)
    (grid,) = json.loads(render([fake_record(), kd], "json"))["measured"]
    assert [row["teachers"] for row in grid["rows"]] == [[], ["mini-b2"]]
    assert [row["teacher_seconds"] for row in grid["rows"]] == [0.0, trained.training.wall_seconds]
    assert "teacher" not in render([fake_record()], "markdown")


def test_the_ema_teacher_has_a_column_only_where_there_is_one():
    assert "EMA" not in render([fake_record()], "markdown")
    assert "34.0 (1)" in render([fake_record("daformer", miou=33, ema_miou=34)], "markdown")


def test_failed_runs_are_listed_not_dropped():
    text = render([fake_record(), fake_record("daformer", error="out of memory\ntrace")], "html")
    assert "failed: daformer, mini-b0, seed 0: out of memory</p>" in text


def test_a_run_measured_twice_is_not_two_seeds():
    old = fake_record(miou=20, created="2025-01-01T00:00:00Z")
    new = fake_record(miou=30, created="2025-01-02T00:00:00Z")
    (table,) = comparison([new, old])
    assert (table.rows[0].miou.n, table.rows[0].miou.mean) == (1, 30)
    assert "Older records of the same runs, left out: 1." in table.notes


def test_another_machine_is_named():
    other = fake_provenance("Other CPU")
    text = render([fake_record(), fake_record("daformer", provenance=other)], "markdown")
    assert "measured on Other CPU, Test CPU." in text
    assert "speeds are not comparable" in text


def test_gpu_and_cpu_have_tables_of_their_own():
    gpu = fake_provenance(gpu="GPU X")
    cost = fake_cost(memory_kind="gpu allocated", memory_mib=512.0)
    text = render([fake_record(), fake_record("daformer", provenance=gpu, cost=cost)], "markdown")
    assert ["device CPU" in text, "device GPU" in text] == [True, True]
    assert "measured on GPU X." in text
    assert "peak MiB (GPU)" in text
    assert "peak MiB (CPU)" in text
    assert "not comparable between" not in text


def test_memory_of_two_kinds_is_named_in_each_row_and_warned_of():
    new = fake_cost(memory_kind="cpu pss above baseline", memory_mib=150.0)
    both = render([fake_record(), fake_record("daformer", cost=new)], "markdown")
    assert "900 cpu rss" in both
    assert "150 cpu pss above baseline" in both
    assert "peak MiB is of several kinds, not comparable between rows" in both
    alone = render([fake_record("daformer", cost=new)], "markdown")
    assert "peak MiB (CPU)" in alone
    assert "above what imports take" in alone
    assert "Warning: peak" not in alone


def test_classes_have_a_table_of_their_own():
    text = render(four_methods(), "markdown", per_class=True)
    assert "| road" in text
    row = next(line for line in text.splitlines() if line.startswith("| train "))
    assert row.count(" - ") == 4
    assert "| road" not in render(four_methods(), "markdown")


def test_json_holds_no_nan():
    def refuse(name: str) -> None:
        pytest.fail(f"{name} is not JSON")

    content = json.loads(render([fake_record()], "json"), parse_constant=refuse)
    assert content["measured"][0]["rows"][0]["miou"]["sd"] is None


def test_latex_escapes_what_latex_reads_and_keeps_the_heading_in_print():
    text = render(four_methods(), "latex")
    heading = rf"GTA5 $\rightarrow$ Cityscapes, profile tiny (generated data: {NOT_COMPARABLE})"
    assert rf"\caption{{{heading}}}" in text
    assert r"source\_only" in text
    assert r"$\sim$" in text


def test_the_order_of_records_does_not_matter():
    records = four_methods()
    assert render(records, "markdown") == render(records[::-1], "markdown")


def test_an_unknown_format_is_the_users_error():
    with pytest.raises(BenchError, match=r"'xml' found, one of rich, markdown"):
        render([], "xml")


def test_the_terminal_shows_exactly_this():
    console = Console(file=io.StringIO(), width=100, color_system=None, legacy_windows=False)
    print_rich(four_methods(generated=False), console)
    assert [line.rstrip() for line in console.file.getvalue().splitlines()] == TERMINAL


@pytest.mark.parametrize("width", [60, 80, 110, 200])
def test_a_narrow_terminal_breaks_no_name_and_says_what_it_leaves_out(width):
    kd = fake_record(
        "dualkd", miou=33.333, teachers=[{"network": "mini-b2", "weights_id": "1" * 10}]
    )
    console = Console(file=io.StringIO(), width=width, color_system=None)
    print_rich([*four_methods(), kd], console)
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= width
    for word in ("source_only", "mini-b2", "+9.8"):
        assert word in text
    assert ("900" in text) == (width >= 80)  # the memory
    left_out = " ".join(text.partition("Left out")[2].split())
    assert ("teacher training s" in left_out) == (width < 110)
    assert ("--format markdown" in left_out) == (width < 110)


TERMINAL = """\
GTA5 -> Cityscapes, profile tiny
Student mini-b0, at the last iteration.

                                                                                     infer  params
 method       mIoU % (all19, tiny)                gain  train img/s  peak MiB (CPU)  img/s       M
 ──────────────────────────────────────────────────────────────────────────────────────────────────
 source_only        23.6 ± 2.1 (3)                   -           35             900    120    1.04
 daformer           26.5 ± 0.9 (3)  +3.0 [-0.6, 6.5] ~           35             900    120    1.04
 dualkd             34.4 ± 2.1 (3)   +10.9 [7.3, 14.4]           35             900    120    1.04
 oracle             51.1 ± 2.2 (3)  +27.5 [23.9, 31.1]           35             900    120    1.04

gain: points over source_only with the same student, mean over seeds.
[low, high] is the 95 % interval of that row alone, over seeds; t-test with one deviation of a run,
1.9 points, pooled over 4 rows (8 degrees of freedom).
~ cannot be told from chance: p >= 0.05, corrected over 3 comparisons (Holm). n = 3 finds a true
difference of 6.2 points with 80 % power.
Speed and memory measured on Test CPU.
Inference at 96x192 (height x width), fp32, batch 4.
peak MiB, CPU: resident memory of process and workers, imports included.

""".splitlines()


def test_published_figures_stand_in_their_own_table_with_their_sources():
    text = render([fake_record()], "markdown", published=True)
    measured, literature = text.split("### Published figures for gta2cs")
    assert "68.3" not in measured
    line = next(x for x in literature.splitlines() if "DAFormer decoder + MiT-B5" in x)
    assert "[" in line
    assert "[1] " in literature
    assert "68.3" in literature
    with pytest.raises(BenchError, match="csv holds measured figures only"):
        render([fake_record()], "csv", published=True)


def test_every_published_figure_has_a_source_and_plausible_classes():
    content = json.loads(PATH.read_text())
    for scenario in {item["scenario"] for item in content["results"]}:
        for figure in published(scenario):
            assert figure.source
            assert 0 < figure.miou < 100
            if figure.iou:
                assert len(figure.iou) == figure.classes
    assert not any("TIP" in item["method"] for item in content["results"])


def test_missing_published_figures_are_the_users_error(tmp_path):
    with pytest.raises(BenchError, match="published figures expected"):
        published("gta2cs", tmp_path / "none.json")


def test_what_training_holds_and_what_its_teacher_knows_are_shown_where_known():
    def cost(miou, held):
        taught = TeacherCost(network="mini_m", parameters_m=2.7, weights_id=None, miou=miou)
        return fake_cost([taught]).model_copy(update={"training_parameters_m": held})

    runs = [fake_record("dualkd", s, 33, cost=cost(30.0 + 2 * s, 5.2)) for s in range(2)]
    beside = fake_record("duda")
    beside.spec.companions.append({"network": "mini_m"})  # it learns with the student
    lines = render([fake_record(), *runs, beside], "markdown").splitlines()
    header, _, floor, dual, duda = [line for line in lines if line.startswith("|")]
    column = [name.strip() for name in header.split("|")].index
    cells = [[cell.strip() for cell in line.split("|")] for line in (floor, dual, duda)]
    assert [row[column("training params M")] for row in cells] == ["-", "5.20", "-"]
    assert [row[column("teacher mIoU %")] for row in cells] == ["-", "31.0 ± 1.4 (2)", "-"]
    assert [row[column("teacher training s")] for row in cells][::2] == ["-", "-"]
    assert "training params M" not in render([fake_record()], "markdown")


def test_a_teacher_is_a_column_not_a_variant():
    kd = fake_record("dualkd", teachers=[{"network": "mini-b2", "weights_id": "1" * 10}])
    (table,) = comparison([kd, fake_record("dualkd", 1)])
    assert [(row.label, row.teachers) for row in table.rows] == [
        ("dualkd", ()),
        ("dualkd", ("mini-b2",)),
    ]


def test_a_group_of_failures_only_has_a_heading_and_no_empty_grid():
    for format in ("markdown", "html", "latex", "rich"):
        text = render([fake_record(error="broken [/b]")], format)
        assert "failed: source" in text
        assert "broken [/b]" in text
        assert "params M" not in text


def test_a_generated_source_alone_is_called_so():
    record = fake_record()
    real = record.spec.target.model_copy(update={"generated": False})
    spec = record.spec.model_copy(update={"target": real})
    text = render([record.model_copy(update={"spec": spec})], "markdown")
    assert f"(generated source: {NOT_COMPARABLE})" in text
