"""Runs of other code, torch or machines share a table only with a note that names them."""

import pytest
from fake_records import fake_provenance, fake_record

from harness.analysis.comparison import NOT_COMPARED, comparison
from harness.analysis.provenance import MOST_NAMED
from harness.config.schema import CHANGE_NO_FIGURE


def ran(method="source_only", seed=0, *, error=None, config=None, **parts):
    """A record whose provenance has these parts in place of its own."""
    provenance = fake_provenance() | parts
    return fake_record(method, seed, error=error, config=config, provenance=provenance)


def of(commit, fingerprint=None, dirty=False):
    return {"code": {"commit": commit, "dirty": dirty, "fingerprint": fingerprint}}


def warnings(*records):
    (table,) = comparison(records)
    return [n for n in table.notes if n.startswith("Warning") and "n < 3" not in n]


def test_runs_of_one_kind_say_nothing():
    same = {**of("a" * 40, "f1"), "versions": {"torch": "2.4.0"}, "side_by_side": 2}
    assert warnings(ran(**same), ran("daformer", **same)) == []


def test_rows_of_other_commits_are_named():
    records = [ran(seed=seed, **of("a" * 40)) for seed in range(2)]
    assert warnings(*records, ran("daformer", **of("b" * 40))) == [
        "Warning: rows hold runs of 2 versions of the code: commit aaaaaaa, but commit bbbbbbb in "
        "daformer: a difference between them may be in the figures."
    ]


def test_a_row_whose_seeds_are_of_other_commits_is_named():
    records = [ran("daformer", seed, **of("ab"[seed > 1] * 40)) for seed in range(3)]
    _, line = warnings(*records, ran(**of("a" * 40)))
    assert line == (
        "Warning: daformer is a mean over versions of the code: commit aaaaaaa for seeds 0, 1; "
        "commit bbbbbbb for seed 2."
    )


def test_a_dirty_tree_is_another_version():
    (line,) = warnings(ran(**of("a" * 40)), ran("daformer", **of("a" * 40, dirty=True)))
    assert "commit aaaaaaa with changes in daformer" in line


def test_code_of_equal_fingerprints_is_one_version_whatever_its_commit():
    records = [ran(**of("a" * 40, "f1")), ran("daformer", **of("b" * 40, "f1", dirty=True))]
    assert warnings(*records) == []
    assert warnings(*records, ran("dacs", **of("a" * 40))) == [], "an older record of that commit"
    (line,) = warnings(*records, ran("dacs", **of("a" * 40, "f2", dirty=True)))
    assert "code f1 (commit aaaaaaa, commit bbbbbbb with changes)" in line
    assert "code f2 (commit aaaaaaa with changes) in dacs" in line


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        ({"versions": {"torch": "2.4"}}, {"versions": {"torch": "2.5"}}, "torch 2.5 in daformer"),
        ({"cpu": {"model": "A"}}, {"cpu": {"model": "B"}}, "2 machines: A, but B in daformer"),
        (
            {"cpu": {"model": "A", "usable": 2}},
            {"cpu": {"model": "A", "usable": 1}},
            "2 machines: A with 2 cores, but A with 1 core in daformer",
        ),
        (
            {"cpu": {"model": "A", "usable": 2}},
            {"cpu": {"model": "B", "usable": 1}},
            "2 machines: A, but B in daformer",
        ),
        ({"side_by_side": 4}, {"side_by_side": 1}, "one run at a time in daformer"),
        (
            {"gpu": {"name": "G"}, "environment": {"tf32": {"cudnn": True, "matmul": False}}},
            {"gpu": {"name": "G"}, "environment": {"tf32": {"cudnn": True, "matmul": True}}},
            "2 TF32 settings: cudnn on, matmul off, but cudnn on, matmul on in daformer",
        ),
    ],
)
def test_other_conditions_are_named(one, other, said):
    runs = [ran(seed=0, **one), ran(seed=1, **one), ran("daformer", **other)]
    (line,) = warnings(*runs)
    assert said in line


def test_gains_at_equal_seconds_are_of_one_kind_of_sweep_too():
    def run(method, count, length):
        profile = {"iterations": 800 * length, "length": length}
        provenance = fake_provenance() | {"side_by_side": count}
        return fake_record(method, 0, 30.0, profile=profile, provenance=provenance)

    records = [run("source_only", 1, 1), run("source_only", 1, 2), run("daformer", 2, 2)]
    (line,) = warnings(*records)
    assert line.endswith("speeds and gains at equal seconds are not comparable between them.")


def test_what_a_record_does_not_say_is_not_compared():
    assert warnings(ran(side_by_side=3, **of("a" * 40)), ran("daformer", code={})) == []
    assert warnings(ran(), ran("daformer", code="text", gpu=[], cpu={"model": "Test CPU"})) == []


def test_cpu_and_gpu_share_no_table():
    records = [ran("daformer", seed) for seed in range(2)]
    tables = comparison([*records, ran("daformer", 2, gpu={"name": "G"})])
    assert [(t.differs, t.rows[0].seeds) for t in tables] == [
        ({"device": "CPU"}, (0, 1)),
        ({"device": "GPU"}, (2,)),
    ]


def test_a_run_that_failed_before_it_had_a_device_stands_with_the_others():
    (table,) = comparison([ran(gpu={"name": "G"}), ran("daformer", error="killed")])
    assert len(table.failed) == 1
    (table,) = comparison([ran("daformer", error="killed")])
    assert len(table.failed) == 1


def test_many_rows_are_counted():
    odd = [ran("dualkd", config={"lambda_kd": n}, **of("b" * 40)) for n in range(MOST_NAMED + 2)]
    usual = [ran(seed=seed, **of("a" * 40)) for seed in range(20)]
    (line,) = warnings(*odd, *usual)
    assert "dualkd (lambda_kd=5) and 2 more: a difference" in line


def test_students_and_teachers_tell_rows_apart_in_notes():
    records = [
        fake_record("dualkd", student=student, teachers=[{"network": teacher}],
                    provenance=fake_provenance() | of(commit * 40))
        for student, teacher, commit in [("a", "t", "a"), ("a", "u", "b"), ("b", "t", "a")]
    ]  # fmt: skip
    (line,) = warnings(*records)
    assert "commit bbbbbbb in dualkd of a <- u:" in line


@pytest.mark.parametrize(
    ("field", "value"),
    {"description": "other", "log_every": 7, "wants_init": "weights", "workers": 0}.items(),
)
def test_what_changes_no_figure_changes_neither_name_nor_table(field, value):
    assert field in CHANGE_NO_FIGURE
    assert set(CHANGE_NO_FIGURE) <= NOT_COMPARED
    one, other = fake_record(), fake_record(profile={field: value})
    assert one.run_id == other.run_id
    assert len(comparison([one, other])) == 1
