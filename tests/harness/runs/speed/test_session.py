"""Cases that take turns: crossed, warmed up, measured, compared; with workers that only pretend."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import BenchError
from harness.runs.speed import session
from harness.runs.speed.cases import SpeedCase, cross
from harness.runs.speed.comparison import changes, other_machine
from harness.runs.speed.results import (
    THIS,
    Memory,
    Peak,
    Result,
    SpeedReport,
    Spread,
    Steps,
    read_report,
)
from harness.runs.speed.session import (
    LONGEST_WARM_UP,
    ROOT,
    SpeedOptions,
    Worker,
    WorkerError,
    measure,
)
from harness.runs.speed.tables import changes_grid, failures, grids

CASES = [SpeedCase(method=name, profile="tiny") for name in ("dacs", "daformer")]
BUILT = {
    "unmet": [], "precision": "fp32", "tf32": False, "threads": 1, "images": 2,
    "memory": {"mib": 10.0, "kind": "gpu allocated"},
}  # fmt: skip


@pytest.fixture
def turns(monkeypatch):
    """(case, question) in the order asked; a step takes what `took` says, by method."""
    asked: list[tuple[str, str]] = []

    class Pretended:
        took = staticmethod(lambda method, turn: 1.0)

        def __init__(self, case, tree, options, scratch) -> None:
            self.case, self.turn = case, 0

        def ask(self, do, **arguments):
            asked.append((self.case.method, do))
            if do == "build":
                return BUILT
            if do == "steps":
                self.turn += 1
                seconds = self.took(self.case.method, self.turn)
                return {"parts": {"source": seconds / 4, "backward": 3 * seconds / 4}, "steps": 1}
            raise AssertionError(do)

        def close(self) -> None:
            asked.append((self.case.method, "close"))

    monkeypatch.setattr(session, "Worker", Pretended)
    Pretended.asked = asked
    return Pretended


OPTIONS = SpeedOptions("cpu", rounds=2, extras=())


def test_cases_take_turns_and_the_order_turns_round(turns):
    list(measure(CASES, {THIS: ROOT}, OPTIONS))
    last = [method for method, do in turns.asked if do == "steps"][-4:]
    assert last == ["dacs", "daformer", "daformer", "dacs"]


def test_every_worker_is_ended_even_after_an_error(turns):
    results = measure(CASES, {THIS: ROOT}, OPTIONS)
    next(results)
    results.close()  # what an error of whoever reads them does
    assert {method for method, do in turns.asked if do == "close"} == {"dacs", "daformer"}


def test_warm_up_ends_where_two_rounds_agree(turns):
    turns.took = staticmethod(lambda method, turn: {1: 9.0, 2: 2.0}.get(turn, 1.0))
    (result, _) = measure(CASES, {THIS: ROOT}, OPTIONS)
    assert result.steps.warm_up_rounds == 4  # 9, 2, 1, 1
    assert result.steps.stable
    assert result.steps.step_ms.median == 1000


def test_a_case_that_never_settles_says_so(turns):
    turns.took = staticmethod(lambda method, turn: 1.0 + turn % 2)
    (result, _) = measure(CASES, {THIS: ROOT}, OPTIONS)
    assert result.steps.warm_up_rounds == LONGEST_WARM_UP
    assert not result.steps.stable


def test_one_case_that_fails_leaves_the_others_alone(turns):
    def took(method, turn):
        if method == "dacs":
            raise WorkerError("out of memory")
        return 1.0

    turns.took = staticmethod(took)
    broken, whole = measure(CASES, {THIS: ROOT}, OPTIONS)
    assert broken.error == "out of memory"
    assert whole.steps.images_per_second == 2


def test_a_tree_without_what_is_measured_with_says_what_is_missing(tmp_path):
    (tmp_path / "harness").mkdir()
    (tmp_path / "harness/__init__.py").touch()
    worker = Worker(CASES[0], tmp_path, OPTIONS, tmp_path)
    with pytest.raises(WorkerError, match=r"No module named 'harness\.measure'"):
        worker.ask("build")
    worker.close()


def test_a_worker_that_ended_before_it_was_asked_is_closed_all_the_same(tmp_path):
    (tmp_path / "harness").mkdir()
    (tmp_path / "harness/__init__.py").touch()
    worker = Worker(CASES[0], tmp_path, OPTIONS, tmp_path)
    worker._process.wait()
    with pytest.raises(WorkerError, match=r"No module named 'harness\.measure'"):
        worker.ask("build")  # nobody reads it
    worker.close()


def test_lists_are_crossed_and_teachers_are_for_those_that_have_one():
    teachers = ["mini_s", "mini_m"]
    cases = cross(["dacs", "dualkd"], "tiny", ["mini_xs"], teachers, ["precision=fp32,bf16"])
    named = [(case.method, case.teacher, *case.overrides) for case in cases]
    assert named == [
        ("dacs", None, "precision=fp32"),
        ("dacs", None, "precision=bf16"),
        *(("dualkd", t, f"precision={p}") for t in ("mini_s", "mini_m") for p in ("fp32", "bf16")),
    ]


def test_networks_left_out_are_the_profiles_and_the_methods():
    (case,) = cross(["dualkd"], "tiny")
    lite = "timm:tf_efficientnet_lite{}:topdown"
    assert (case.student, case.teacher) == (lite.format(0), lite.format(1))


def test_values_with_commas_stand_in_brackets():
    cases = cross(["dacs"], "tiny", crossed=["crop=[32,64],[64,64]"])
    assert [case.overrides for case in cases] == [("crop=[32,64]",), ("crop=[64,64]",)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"methods": ["dafomer"]}, "daformer"),
        ({"methods": ["dacs"], "crossed": ["precision"]}, "KEY=VALUE"),
        ({"methods": ["dacs"], "crossed": ["precision=fp8"]}, "precision"),
        ({"methods": ["dacs"], "teachers": ["mini_m"]}, "--teacher mini_m"),
    ],
)
def test_what_cannot_be_planned_is_refused_before_anything_runs(arguments, said):
    with pytest.raises(BenchError, match=said):
        cross(profile="tiny", **arguments)


def result(method: str, times: list[float], code: str = THIS) -> Result:
    steps = Steps(
        images=2, step_ms=Spread.of(times), parts_ms={"source": Spread.of(times)}, round_ms=times,
        warm_up_rounds=2, stable=True,
    )  # fmt: skip
    memory = Memory(mib=sum(times), kind="gpu allocated")
    case = SpeedCase(method=method, profile="tiny")
    return Result(case=case, code=code, steps=steps, memory=memory, gflops=1.0)


def test_turns_are_compared_round_by_round():
    """A machine that slowed down from round to round slowed both."""
    (change,) = changes([result("dacs", [20.0, 40.0])], [result("dacs", [10.0, 20.0])], True)
    assert (change.step.q1, change.step.median, change.step.q3) == (2, 2, 2)
    assert change.clear
    assert change.memory == 2


def test_a_file_is_compared_by_quartiles_that_take_the_worst():
    (change,) = changes([result("dacs", [20.0, 40.0])], [result("dacs", [10.0, 20.0])], False)
    assert change.step.median == 2
    assert change.step.q1 < 2 < change.step.q3


def test_only_what_both_measured_is_compared():
    assert changes([result("dacs", [1.0])], [result("daformer", [1.0])], True) == []


def test_a_change_within_the_noise_is_marked():
    pair = [result("dacs", [10.0, 12.0])], [result("dacs", [12.0, 10.0])]
    (row,) = changes_grid(changes(*pair, in_turns=True), "main").rows
    assert row[5].startswith("~")


def test_another_machine_is_named():
    told = other_machine({"device": "A", "torch": "2"}, {"device": "B", "torch": "2"})
    assert "device A then, B now" in told
    assert "torch" not in told
    assert other_machine({"device": "A"}, {"device": "A"}) == ""


@pytest.fixture
def report():
    failed = Result(case=SpeedCase(method="mic", profile="tiny"), error="out of memory")
    return SpeedReport(
        created="2026-01-01", machine={"device": "GPU", "torch": "2"}, seconds=8, at=0.7,
        peaks=[Peak(precision="fp32", tf32=False, matrix=2.0, convolution=0.5)],
        results=[result("dacs", [10.0]), failed],
    )  # fmt: skip


def test_the_share_of_the_devices_rate_is_that_of_the_median_step(report):
    """1 GFLOP in 10 ms is 0.1 TFLOP/s."""
    assert report.share(report.results[0], "matrix") == pytest.approx(5)
    assert report.share(report.results[0], "convolution") == pytest.approx(20)


def test_rates_are_measured_by_as_many_threads_as_the_step(turns, report, monkeypatch):
    ask = turns.ask

    def asked(self, do, **arguments):
        threads = int(self.case.overrides[0].removeprefix("threads="))
        if do == "peak":
            return {"matrix": float(threads), "convolution": 1.0}
        answer = ask(self, do, **arguments)
        return answer | {"threads": threads} if do == "build" else answer

    monkeypatch.setattr(turns, "ask", asked)
    cases = cross(["dacs"], "tiny", crossed=["threads=1,2"])
    results = [r.model_copy(update={"gflops": 1.0}) for r in measure(cases, {THIS: ROOT}, OPTIONS)]
    rates = session.peaks(results, OPTIONS)
    report = report.model_copy(update={"results": results, "peaks": rates})
    assert [result.threads for result in results] == [1, 2]
    assert [report.peak(result).matrix for result in results] == [1, 2]
    notes = grids(report)[0].notes
    assert any(note.startswith("fp32, threads 2: at most 2 TFLOP/s") for note in notes)


def test_tables_leave_out_what_failed_which_is_said_apart(report):
    costs, parts = grids(report)
    assert [row[0] for row in costs.rows] == [row[0] for row in parts.rows] == ["dacs"]
    assert failures(report) == ["mic: this tree: out of memory"]


def test_a_report_is_read_as_it_was_written(report, tmp_path):
    path = tmp_path / "speed.json"
    path.write_text(report.model_dump_json())
    assert read_report(path) == report


@pytest.mark.parametrize("content", [b"{}", b"\xff\xfe", b'{"format": 2}'])
def test_another_file_is_refused_by_name(tmp_path, content):
    path: Path = tmp_path / "other.json"
    path.write_bytes(content)
    with pytest.raises(BenchError, match=r"other\.json.*bench speed --json"):
        read_report(path)
