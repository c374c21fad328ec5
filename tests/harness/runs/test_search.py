"""`bench search`: asked and told, equal budgets, going on; with runs that a function makes up."""

from __future__ import annotations

import math
import shlex
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from bench_cli import QUICK, bench, refused
from fake_records import fake_cost, fake_provenance, fake_record, fake_scores, fake_spec
from rich.console import Console

from harness.analysis.equal_cost import seconds_of
from harness.analysis.trials import Trial, best, budget_seconds, ranked
from harness.config.planning import Plan, Request, resolve
from harness.config.search_space import Knob, read_space
from harness.errors import BenchError, Interrupted
from harness.records import store
from harness.records.schema import Curve, CurvePoint, Metrics, NetworkScores, Record, TeacherCost
from harness.report.loggers import LOGGERS
from harness.report.progress import Reporter
from harness.report.trials import trials_grid
from harness.runs import search as search_module
from harness.runs.search import Budget, method_searches, search
from harness.runs.workplace import Workplace, record_of

SPACE = {"lr": Knob(low=1e-4, high=1e-2, log=True), "mask_ratio": Knob(choices=(0.5, 0.7))}
PEAK = 2e-4


def made_up(plan: Plan, entropy: float | None = None) -> Record:
    """A done record whose mIoU falls with the distance of lr from PEAK, the entropy with it."""
    spec = plan.spec
    miou = 50 - 10 * abs(math.log10(spec.profile.lr / PEAK)) + 0.1 * spec.seed
    scores = NetworkScores(miou=miou, entropy=entropy or miou, infomax=-miou, snd=0)
    curve = Curve(images=6, seconds=0, points=[CurvePoint(step=4, student=scores)])
    return Record(
        run_id=spec.run_id,
        state="done",
        created="2025-01-01T00:00:00Z",
        spec=spec,
        metrics=Metrics(
            convention="all19",
            student=fake_scores(miou),
            val_images=2,
            curve=curve if spec.profile.score_every else None,
        ),
        cost=fake_cost(),
        provenance=fake_provenance(),
    )


class Runs:
    """Carries out plans by making records up, and counts those that were not there before."""

    def __init__(self, fails: tuple[int, ...] = ()) -> None:
        self.plans: list[Plan] = []
        self.fails = fails
        self.logs: list[tuple[str, ...]] = []

    def __call__(self, plan: Plan, workplace: Workplace, log: Sequence[str] = ()) -> Record | None:
        self.logs.append(tuple(log))
        if record := record_of(plan, workplace):
            return record
        self.plans.append(plan)
        if len(self.plans) in self.fails:
            return None
        record = made_up(plan)
        store.write(record, workplace.results / "records")
        return record


def workplace(results: Path) -> Workplace:
    return Workplace(results, torch.device("cpu"), Reporter(Console(quiet=True)))


def quickly(request: Request) -> Plan:
    """A plan with the knobs of SPACE in it, and nothing looked up."""
    knobs = dict(override.split("=") for override in request.overrides)
    profile = {"lr": float(knobs["lr"])} if "lr" in knobs else {}
    config = {"mask_ratio": float(knobs["mask_ratio"])} if "mask_ratio" in knobs else {}
    spec = fake_spec(request.method, request.seed, profile=profile, config=config)
    return Plan(spec, None, None)


def searches(
    rule="oracle", trials=7, methods=("daformer", "mic"), space=SPACE, plan=quickly, **budget
):
    requests = [
        Request(
            method=method,
            scenario="gta2cs",
            profile="tiny",
            init="none",
            student="test_mit",
            overrides=tuple(QUICK[3::2]) if plan is resolve else (),
        )
        for method in methods
    ]
    seeds = {"seeds": (100,), **budget}
    return method_searches(requests, Budget(space, rule, trials, **seeds), plan, "space.toml")


def test_each_method_gets_the_same_budget_in_turn_and_the_knobs_that_it_has(tmp_path):
    runs = Runs()
    asked = searches()
    search(asked, workplace(tmp_path), runs)
    assert [plan.spec.method for plan in runs.plans] == ["daformer", "mic"] * 7
    daformer, mic = asked
    assert set(daformer.trials[0].knobs) == {"lr"}
    assert set(mic.trials[0].knobs) == {"lr", "mask_ratio"}
    for plan in runs.plans:
        assert 1e-4 <= plan.spec.profile.lr <= 1e-2
        assert plan.spec.seed == 100
        assert plan.spec.profile.score_every == 0  # by the labels nothing else is looked at
    rates = [trial.knobs["lr"] for trial in daformer.trials]
    assert len(set(rates)) == 7
    assert all(float(f"{rate:.3g}") == rate for rate in rates)


def test_the_first_trial_has_the_defaults_that_the_ranges_hold(tmp_path):
    default = quickly(Request(method="mic", scenario="gta2cs")).spec.profile.lr
    around = {"lr": Knob(low=default / 2, high=default * 2)}
    beside = {"lr": Knob(low=default * 2, high=default * 4)}
    for space, is_first in ((around, True), (beside, False)):
        (asked,) = searches(trials=1, methods=("mic",), space=space)
        search([asked], workplace(tmp_path), Runs())
        assert (asked.trials[0].knobs["lr"] == default) is is_first
        assert space["lr"].holds(asked.trials[0].knobs["lr"])


def test_a_knob_holds_what_a_trial_could_have():
    assert Knob(low=0, high=4).holds(3)
    assert not Knob(low=0, high=4).holds(0.5)
    assert not Knob(low=0, high=4).holds(None)
    assert not Knob(low=0, high=4).holds(5)
    assert Knob(choices=("a", "b")).holds("b")


def test_a_killed_search_goes_on_as_if_it_had_not_been(tmp_path):
    before, broken_off = Runs(), Runs()

    def killed_at_the_fifth(plan, place):
        if len(before.plans) == 4:
            raise Interrupted(signal.SIGTERM)
        return before(plan, place)

    search(searches(), workplace(tmp_path / "whole"), Runs())
    with pytest.raises(Interrupted):
        search(searches(), workplace(tmp_path / "killed"), killed_at_the_fifth)
    search(searches(), workplace(tmp_path / "killed"), broken_off)
    assert len(broken_off.plans) == 14 - 4
    names = [
        [p.name for p in sorted((tmp_path / w / "records").iterdir())] for w in ("whole", "killed")
    ]
    assert names[0] == names[1]
    done = Runs()
    search(searches(), workplace(tmp_path / "whole"), done)
    assert done.plans == []
    search(searches(trials=8), workplace(tmp_path / "whole"), done)
    assert len(done.plans) == 2


def test_later_trials_lie_nearer_the_best(tmp_path):
    (asked,) = searches(trials=25, methods=("daformer",), space={"lr": SPACE["lr"]})
    search([asked], workplace(tmp_path), Runs())
    off = [abs(math.log10(trial.knobs["lr"] / PEAK)) for trial in asked.trials]
    assert sum(off[15:]) / 10 < sum(off[:5]) / 5


@pytest.mark.parametrize(
    ("rule", "highest"), [("oracle", True), ("infomax", False), ("entropy", False)]
)
def test_the_rule_decides_and_stands_in_the_record(tmp_path, rule, highest):
    (asked,) = searches(rule, methods=("daformer",), seeds=(100, 101), held_out=(0, 1, 2))
    search([asked], workplace(tmp_path), Runs())
    chosen = best(asked.trials, rule)
    levels = [trial.miou.mean for trial in asked.trials]
    assert chosen.miou.mean == (max(levels) if highest else min(levels))
    assert [run.spec.seed for run in asked.held_out] == [0, 1, 2]
    assert {run.spec.profile.lr for run in asked.held_out} == {chosen.knobs["lr"]}
    records = store.read_all(tmp_path / "records")
    assert len(records) == 7 * 2 + 3
    notes = [note for record in records for note in record.searches]
    assert {note.rule for note in notes} == {rule}
    assert sorted(n.trial for n in notes if n.trial) == sorted([*range(1, 8)] * 2)
    assert sum(note.trial is None for note in notes) == 3
    assert notes[0].space == {"lr": "0.0001 to 0.01 (log)"}
    assert notes[0].trials == 7
    assert notes[0].seeds == [100, 101]
    assert "seed 0" in notes[0].sampler


def test_a_run_of_two_searches_names_both_and_one_that_went_on_once(tmp_path):
    place, runs = workplace(tmp_path), Runs()
    for trials, rule in ((2, "entropy"), (2, "infomax"), (3, "infomax")):
        search(searches(rule, trials, ("daformer",)), place, runs)
    assert len(runs.plans) == 3
    first = record_of(runs.plans[0], place)
    assert [(note.rule, note.trials) for note in first.searches] == [("entropy", 2), ("infomax", 3)]


def test_a_failed_trial_counts_and_is_never_the_best(tmp_path):
    (asked,) = searches(trials=4, methods=("daformer",))
    search([asked], workplace(tmp_path), Runs(fails=(1, 2)))
    assert len(asked.trials) == 4
    assert [trial.number for trial in ranked(asked.trials, "oracle")][2:] == [1, 2]
    grid = trials_grid("heading", asked.trials, "oracle", None, "budget")
    assert [row[1] for row in grid.rows][2:] == ["failed", "failed"]
    assert best([Trial(1, {"lr": 1}, [], 1)], "oracle") is None


def test_the_table_says_by_what_it_was_chosen(tmp_path):
    (asked,) = searches("entropy", methods=("daformer",))
    search([asked], workplace(tmp_path), Runs())
    by_entropy = trials_grid("heading", asked.trials, "entropy", None, "budget")
    assert by_entropy.columns[:3] == ["trial", "entropy, nats (lower is better)", "mIoU %"]
    figures = [float(row[1]) for row in by_entropy.rows]
    assert figures == sorted(figures)
    assert "without a label" in by_entropy.notes[0]
    by_oracle = trials_grid("heading", asked.trials, "oracle", None, "budget")
    assert "labels were looked at" in by_oracle.notes[0]


def test_the_table_says_what_the_budget_took_with_each_teacher_once():
    """Two trials that share a frozen teacher, one with a teacher of its own."""
    taught = [
        [TeacherCost(network="b1", parameters_m=1, weights_id=w, training=fake_cost().training)]
        for w in ("a", "a", "b")
    ]
    runs = [fake_record("dualkd", s, cost=fake_cost(taught[s])) for s in range(3)]
    trials = [Trial(n, {"lr": 0.1}, [run], 1) for n, run in enumerate(runs, 1)]
    one = seconds_of(fake_cost().training)
    assert one > 0
    assert budget_seconds(trials) == pytest.approx(5 * one)
    assert budget_seconds([*trials, trials[0]]) == pytest.approx(5 * one)
    notes = " ".join(trials_grid("heading", trials, "oracle", None, "budget").notes)
    assert f"All trials: {5 * one:.0f} s of training" in notes


def test_trials_of_other_code_are_noted(tmp_path):
    (asked,) = searches(trials=2, methods=("daformer",))
    search([asked], workplace(tmp_path), Runs())

    def notes(*versions: str) -> list[str]:
        trials = []
        for trial, version in zip(asked.trials, versions, strict=True):
            made_by = {**fake_provenance(), "versions": {"torch": version}}
            (run,) = trial.runs
            trials.append(replace(trial, runs=[run.model_copy(update={"provenance": made_by})]))
        return trials_grid("heading", trials, "oracle", None, "budget").notes[3:]

    (note,) = notes("2.9.0", "9.9.9")
    assert "2 versions of torch" in note
    assert notes("2.9.0", "2.9.0") == []


def test_what_cannot_be_searched_is_refused_before_anything_runs(tmp_path):
    with pytest.raises(BenchError, match="none of its knobs is one of dacs"):
        searches(methods=("dacs", "mic"), space={"mask_ratio": SPACE["mask_ratio"]})
    with pytest.raises(BenchError, match="unknown key 'leaning_rate'"):
        searches(space={"leaning_rate": SPACE["lr"]}, plan=resolve)
    with pytest.raises(BenchError, match=r"space\.toml, power: power = "):
        searches(space={"power": Knob(choices=("low", "high"))}, plan=resolve)
    with pytest.raises(BenchError, match=r"space\.toml, batch_size: batch"):
        searches(space={"batch_size": Knob(low=1.0, high=4.0)}, plan=resolve)
    settled = Request(method="dacs", scenario="gta2cs", profile="tiny", overrides=("lr=0.1",))
    with pytest.raises(BenchError, match=r"--set lr: knobs\.toml searches it"):
        method_searches([settled], Budget(SPACE, "oracle", 1, (0,)), resolve, "knobs.toml")
    asked = searches("agreement", methods=("source_only",), space={"lr": SPACE["lr"]})
    with pytest.raises(BenchError, match="has no EMA teacher"):
        search(asked, workplace(tmp_path), Runs())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no knob found"),
        ("lr = 0.1", "a range or choices expected"),
        ("lr = {low = 2, high = 1}", "low below high"),
        ("lr = {low = 0.0, high = 1.0, log = true}", "low above 0"),
        ("lr = {choices = [1.0]}", "two different values"),
        ("lr = {choices = [1.0, 2.0], log = true}", "choices stand alone"),
        ("lr = {lowest = 1}", "lowest"),
        ("workers = {choices = [0, 1]}", "changes no figure"),
        ("lr = {", "not valid TOML"),
    ],
)
def test_a_file_of_knobs_says_what_is_wrong_with_it(tmp_path, text, said):
    path = tmp_path / "space.toml"
    path.write_text(text)
    with pytest.raises(BenchError, match=said):
        read_space(path)


ASKED = ("search", "--method", "source_only", "--scenario", "gta2cs", "--profile", "tiny",
         "--init", "none", *QUICK)  # fmt: skip


def space_file(folder: Path) -> Path:
    path = folder / "space.toml"
    path.write_text("lr = {low = 1e-4, high = 1e-2, log = true}\n")
    return path


def test_the_command_ends_in_a_table_and_the_run_to_go_on_with(tmp_path, monkeypatch):
    monkeypatch.setattr(search_module, "run_apart", Runs())
    done = bench(*ASKED, "--space", space_file(tmp_path), "--trials", 3, "--by", "oracle",
                 "--held-out", "0,1", "--results", tmp_path / "runs")  # fmt: skip
    assert done.code == 0, done.err
    assert "for each of 1 method: 5 runs" in done.out
    assert "source_only on gta2cs: trials by oracle, the best first" in done.out
    assert "on held-out seeds: mIoU %" in " ".join(done.out.split())
    last = done.out.splitlines()[-1]
    assert last.startswith("next: bench run --method source_only --scenario gta2cs --profile tiny")
    assert " --set lr=0.00" in last
    assert f" --results {tmp_path / 'runs'} " in last


def test_the_run_to_go_on_with_names_the_plug_in(tmp_path, monkeypatch):
    """Without it the command that is shown knows no such method."""
    monkeypatch.setattr(search_module, "run_apart", Runs())
    bench("new-method", "calm", "--out", tmp_path)
    asked = [part if part != "source_only" else "calm" for part in ASKED]
    done = bench(*asked, "--space", space_file(tmp_path), "--trials", 1, "--by", "oracle",
                 "--plugin", tmp_path / "calm.py", "--results", tmp_path / "runs")  # fmt: skip
    assert done.code == 0, done.err
    last = done.out.splitlines()[-1]
    assert last.startswith("next: bench run --method calm ")
    shown = bench(*shlex.split(last.removeprefix("next: bench ")), "--dry-run")
    assert shown.code == 0, shown.err


def test_the_command_takes_a_teacher_for_methods_that_have_one(tmp_path, monkeypatch):
    runs = Runs()
    monkeypatch.setattr(search_module, "run_apart", runs)
    monkeypatch.setattr(LOGGERS["tensorboard"], "package", "json")
    told = ("--teacher", "mini_l", "--log", "tensorboard")
    options = ("--scenario", "gta2cs", "--profile", "tiny", "--init", "none", *QUICK,
               "--space", space_file(tmp_path), "--trials", 1, "--by", "oracle",
               "--results", tmp_path)  # fmt: skip
    both = ("search", "--method", "dualkd", "--method", "source_only", *told, *options)
    done = bench(*both)
    assert done.code == 0, done.err
    assert [plan.spec.method_config.get("teacher") for plan in runs.plans] == ["mini_l", None]
    assert runs.logs == [("tensorboard",), ("tensorboard",)]
    (command,) = [
        x for x in done.out.splitlines() if x.startswith("next: bench run --method dualkd")
    ]
    assert "--teacher mini_l" in command
    without = ("search", "--method", "source_only", *told, *options)
    assert "--teacher" in refused(bench(*without))
    assert "--log nothing" in refused(bench(*both, "--log", "nothing"))


def test_the_command_refuses_seeds_twice_and_a_missing_library(tmp_path, monkeypatch):
    options = (*ASKED, "--space", space_file(tmp_path), "--trials", 1, "--by", "oracle")
    assert "seed of the trials too" in refused(bench(*options, "--held-out", "0,100"))
    assert "--seeds a" in refused(bench(*options, "--seeds", "a"))
    monkeypatch.setattr(search_module, "find_spec", lambda name: None)
    assert "pip install 'uda-bench[search]'" in refused(bench(*options))


def test_a_trial_is_a_run_in_a_process_of_its_own(tmp_path, own_environment):
    results = tmp_path / "runs"
    options = (*ASKED, "--space", space_file(tmp_path), "--by", "infomax", "--results", results)
    done = bench(*options, "--trials", 1)
    assert done.code == 0, done.out + done.err
    (record,) = store.read_all(results / "records")
    assert record.metrics.curve.points[-1].step == 4
    assert record.searches[0].rule == "infomax"
    again = bench(*options, "--trials", 1)
    assert f"run {record.run_id} is done" in again.out
    assert store.read_all(results / "records") == [record]


def test_a_run_of_other_code_without_the_scores_of_a_rule_is_run_again(tmp_path, monkeypatch):
    place = replace(workplace(tmp_path), keep_other_code=True)
    plan = resolve(Request(method="daformer", scenario="gta2cs", student="test_mit"))
    store.write(made_up(plan), tmp_path / "records")
    assert search_module.run_apart(plan, place) == record_of(plan, place)
    scored = search_module.scored_by(plan, "entropy")
    carried_out = []
    monkeypatch.setattr(search_module, "carry_out", lambda task, *_, **__: carried_out.append(task))
    search_module.run_apart(scored, place)
    (task,) = carried_out
    assert task.spec.profile.score_every
