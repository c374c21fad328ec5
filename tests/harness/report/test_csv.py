"""`bench table --format csv`: for machines, unrounded, a line a row or a run."""

import csv
import io
from statistics import mean

from bench_cli import bench, refused
from fake_records import FOUR_SCORES, fake_cost, fake_record, four_methods

from harness.records.schema import TeacherCost
from harness.report.formats import render


def test_csv_is_unrounded_and_machine_readable():
    rows = list(csv.DictReader(io.StringIO(render(four_methods(), "csv", per_class=True))))
    assert len(rows) == 4
    assert float(rows[1]["miou_mean"]) == mean(FOUR_SCORES["daformer"])
    assert rows[1]["gain_significant"] == "False"
    assert float(rows[1]["gain_p_holm"]) >= float(rows[1]["gain_p"]) > 0
    assert (rows[1]["gain_n"], rows[1]["gain_test"]) == ("3", "pooled t")
    assert float(rows[1]["gain_low"]) < float(rows[1]["gain_mean"]) < float(rows[1]["gain_high"])
    assert rows[1]["iou_traffic light"]
    assert rows[1]["seeds"] == "0 1 2"


def test_csv_has_no_column_beside_the_parts_of_a_figure():
    text = render([*four_methods(), fake_record("mic", ema_miou=30)], "csv")
    names = text.partition("\n")[0].split(",")
    assert {"gain_mean", "ema_miou_mean"} <= set(names)
    assert not {"gain", "ema_miou"} & set(names)


def test_csv_has_a_line_a_seed_on_request_with_its_gain_and_its_teachers_figures():
    taught = TeacherCost(network="mini_m", parameters_m=2.7, weights_id=None, miou=31.0)
    teacher = [{"network": "mini_m", "weights_id": "1" * 10}]
    alone = fake_record(
        "dacs", 7, 33.0, ema_miou=34.0, cost=fake_cost([taught]), teachers=teacher
    )  # no source_only of its seed
    records = [*four_methods(), alone]
    text = render(records, "csv", sort="miou", by_seed=True)
    lines = list(csv.DictReader(io.StringIO(text)))
    assert len(lines) == len(records)
    assert {line["run_id"] for line in lines} == {record.run_id for record in records}
    scores = {(line["method"], line["seed"]): float(line["miou_mean"]) for line in lines}
    for line in lines:
        if line["method"] in ("daformer", "dualkd", "oracle"):
            floor = scores["source_only", line["seed"]]
            assert float(line["gain_mean"]) == float(line["miou_mean"]) - floor
    (line,) = [line for line in lines if line["method"] == "dacs"]
    assert line["gain_mean"] == ""
    assert (line["ema_miou_mean"], line["teachers"]) == ("34.0", "mini_m")
    assert line["teacher_miou_mean"] == "31.0"
    assert "expected --format csv" in refused(bench("table", "--by-seed"))
