"""benchmarks/speed/gpu.py: done steps are skipped, cut ones tried again, failures said."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from speed_scripts import FOLDER, load

from harness.config.planning import Request, resolve
from harness.runs.speed.cases import SpeedCase
from harness.training import checkpoints
from harness.weights.find import WEIGHTS
from methods import registry

gpu, gpu_plan, gpu_summary = (load(name) for name in ("gpu", "gpu_plan", "gpu_summary"))


def step(name: str, code: str, *arguments: str, kind: str = "any"):
    return gpu.Step(name, kind, [sys.executable, "-S", "-c", code, *arguments])


def counting(name: str, file: Path):
    """A step that leaves a letter in a file whenever it is carried out."""
    return step(name, "import sys; open(sys.argv[1], 'a').write('x')", str(file))


def planned(monkeypatch, tmp_path, *arguments: str):
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--out", str(tmp_path), *arguments])
    return gpu.plan(gpu.arguments())


def test_what_is_done_is_not_done_again(tmp_path):
    steps = [counting("one", tmp_path / "ran")]
    assert [gpu.work(steps, tmp_path / "out", 60) for _ in range(2)] == [0, 0]
    assert (tmp_path / "ran").read_text() == "x"


def test_a_step_that_fails_stops_no_other_and_is_said_at_the_end(tmp_path):
    steps = [step("bad", "print('why'); raise SystemExit(2)"), counting("good", tmp_path / "ran")]
    assert gpu.work(steps, tmp_path / "out", 60) == 1
    assert gpu.read(tmp_path / "out", steps[0])["last_line"] == "why"
    assert gpu.read(tmp_path / "out", steps[1])["state"] == "done"


def test_what_failed_is_tried_again_where_asked(tmp_path):
    flag = tmp_path / "flag"
    code = "import os, sys; sys.exit(not os.path.exists(sys.argv[1]))"
    steps = [step("moody", code, str(flag))]
    assert gpu.work(steps, tmp_path / "out", 60) == 1
    flag.touch()
    assert gpu.work(steps, tmp_path / "out", 60) == 1
    assert gpu.work(steps, tmp_path / "out", 60, retry=True) == 0


def test_the_budget_cuts_a_step_and_what_it_started(tmp_path):
    code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(60)'])\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)"
    )
    steps = [step("long", code)]
    start = time.monotonic()
    assert gpu.work(steps, tmp_path, 2) == gpu.MORE_TO_DO
    assert time.monotonic() - start < 20
    left = gpu.read(tmp_path, steps[0])
    assert (left["state"], left["cuts"]) == ("cut", 1)
    child = int(left["last_line"])
    wait_until(lambda: has_ended(child))  # a killed process takes a moment to go


#: Starts a worker, writes who of the two was asked to end, and ends the worker itself.
WITH_A_WORKER = """
import signal, subprocess, sys, time
asked = sys.argv[1]
worker = f"import signal, time; signal.signal(15, lambda *_: open({asked!r}, 'a').write('w'))\\n"
worker = subprocess.Popen([sys.executable, '-S', '-c', worker + "print(flush=True)\\n"
                          "time.sleep(60)"], stdout=subprocess.PIPE)
worker.stdout.readline()
def stop(*_):
    open(asked, 'a').write('s')
    time.sleep(0.5)  # as long as keeping a state takes
    worker.kill()
    worker.wait()
    open(asked, 'a').write('e')
    sys.exit(75)
signal.signal(signal.SIGTERM, stop)
print('ready', flush=True)
time.sleep(60)
"""


def test_a_cut_step_is_asked_alone_and_has_time_to_end_by_itself(tmp_path):
    """A run whose workers get the signal too may lose what it trained."""
    asked = tmp_path / "asked"
    code, last = gpu.carry_out(step("run", WITH_A_WORKER, str(asked)), tmp_path, 3, grace=20)
    assert (code, last) == (None, "ready")
    assert asked.read_text() == "se"


#: The script with one step, which is to be ended by the signal that the script gets.
SCRIPT = """
import importlib.util, pathlib, sys
script, out, code, asked = sys.argv[1:]
spec = importlib.util.spec_from_file_location("gpu", script)
gpu = sys.modules["gpu"] = importlib.util.module_from_spec(spec)
sys.path.append(str(pathlib.Path(script).parent))
spec.loader.exec_module(gpu)
step = gpu.Step("long", "any", [sys.executable, "-S", "-c", code, asked])
gpu.plan = lambda asked: [step]
sys.argv = ["gpu.py", "--out", out]
gpu.main()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_job_that_is_ended_leaves_no_step_behind(tmp_path, number):
    asked, log = tmp_path / "asked", tmp_path / "out" / "long.log"
    script = [sys.executable, "-c", SCRIPT, str(FOLDER / "gpu.py"), str(tmp_path / "out")]
    with subprocess.Popen([*script, WITH_A_WORKER, str(asked)]) as process:
        try:
            wait_until(lambda: log.is_file() and "ready" in log.read_text())
            process.send_signal(number)
            assert process.wait(timeout=60) == gpu.MORE_TO_DO
        finally:
            process.kill()
    assert asked.read_text() == "se"
    assert not (tmp_path / "out" / "long.json").exists()  # tried again, and no cut is counted


def has_ended(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def wait_until(holds) -> None:
    until = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_what_does_not_end_by_itself_is_killed(tmp_path):
    code = "import signal, time; signal.signal(15, signal.SIG_IGN)\nprint('x', flush=True)\n"
    start = time.monotonic()
    stubborn = step("deaf", code + "time.sleep(60)")
    assert gpu.carry_out(stubborn, tmp_path, 2, grace=0.5, rest=0.5) == (None, "x")
    assert time.monotonic() - start < 20


def test_the_time_to_end_is_of_the_budget(tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(gpu, "carry_out", lambda *arguments: given.append(arguments) or (0, ""))
    for minutes in (9, 1):
        (steps, out) = [counting("one", tmp_path / "ran")], tmp_path / str(minutes)
        gpu.work(steps, out, 60 * minutes)
    (_, _, *long), (_, _, *short) = given
    assert long == [pytest.approx(540 - 35, abs=1), 30, 5]
    assert sum(short) == pytest.approx(60, abs=1)
    assert short[0] == pytest.approx(54, abs=1)


def test_a_step_that_never_fits_fails_in_the_end(tmp_path):
    steps = [step("long", "import time; time.sleep(60)"), counting("good", tmp_path / "ran")]
    codes = [gpu.work(steps, tmp_path / "out", 0.3) for _ in range(gpu.LARGEST_CUTS)]
    assert codes == [gpu.MORE_TO_DO] * gpu.LARGEST_CUTS
    assert gpu.work(steps, tmp_path / "out", 60) == 1
    assert (tmp_path / "ran").read_text() == "x"


#: Goes on from the newest of its states, keeps another, and is not done.
TRAINS = """
import pathlib, sys, time
states = pathlib.Path(sys.argv[1]) / "artifacts" / "abc" / "checkpoints"
states.mkdir(parents=True, exist_ok=True)
done = max((int(p.name[5:]) for p in states.glob("step-*")), default=0)
(states / f"step-{done + int(sys.argv[2])}").mkdir(exist_ok=True)
time.sleep(60)
"""


@pytest.mark.parametrize(("each", "left"), [(7, ("cut", 0)), (0, ("failed", gpu.LARGEST_CUTS))])
def test_a_cut_counts_where_no_training_went_on(tmp_path, each, left):
    command = step("run", TRAINS, str(tmp_path), str(each)).command
    states = tmp_path / "artifacts" / "abc" / "checkpoints"
    (states / "step-3").mkdir(parents=True)
    steps = [gpu.Step("run", "run", command, tmp_path)]
    for _ in range(gpu.LARGEST_CUTS):
        assert gpu.work(steps, tmp_path / "out", 2) == gpu.MORE_TO_DO
    outcome = gpu.read(tmp_path / "out", steps[0])
    assert (outcome["state"], outcome["cuts"]) == left


def test_how_far_trainings_are_is_read_from_what_a_run_leaves(tmp_path):
    for name in ("a/checkpoints/step-20", "a/checkpoints/step-100", "b/checkpoints/step-3.part"):
        (tmp_path / "artifacts" / name).mkdir(parents=True)
    before = gpu.reached(gpu.Step("run", "run", [], tmp_path))
    assert before == {"a": 100}
    (tmp_path / "artifacts" / "c").mkdir()
    (tmp_path / "artifacts" / "c" / WEIGHTS).touch()
    after = gpu.reached(gpu.Step("run", "run", [], tmp_path))
    assert gpu.goes_on(before, after)
    assert not gpu.goes_on(after, before)
    newest, _ = checkpoints.stored(tmp_path / "artifacts" / "a" / checkpoints.FOLDER)
    assert newest.name == f"{checkpoints.NAME}100"  # as the harness names them


def test_a_step_that_was_told_to_stop_has_not_failed(tmp_path):
    steps = [step("stopped", "raise SystemExit(75)"), counting("good", tmp_path / "ran")]
    assert gpu.work(steps, tmp_path / "out", 60) == gpu.MORE_TO_DO
    assert gpu.read(tmp_path / "out", steps[0])["state"] == "cut"


def test_runs_keep_their_state_often_under_the_same_name(monkeypatch, tmp_path):
    run = next(s for s in planned(monkeypatch, tmp_path) if s.name == "run-dualkd-s0")
    assert run.results == tmp_path / "runs"
    chosen = [run.command[i + 1] for i, part in enumerate(run.command) if part == "--set"]
    assert chosen == [gpu_plan.KEEP_STATE]
    often, usual = (
        resolve(
            Request(method="dualkd", scenario="gta2cs", profile="small", overrides=overrides), None
        )
        for overrides in (tuple(chosen), ())
    )
    assert often.spec.profile.checkpoint_every == "1min"
    assert often.teachers[0].plan.spec.profile.checkpoint_every == "1min"
    for name in ("run_id", "weights_id"):
        assert getattr(often.spec, name) == getattr(usual.spec, name)
        assert getattr(often.teachers[0].plan.spec, name) == getattr(
            usual.teachers[0].plan.spec, name
        )


def test_no_step_begins_that_would_not_fit(tmp_path):
    first, second = counting("one", tmp_path / "ran"), counting("two", tmp_path / "ran")
    before = {"step": "zero", "state": "done", "seconds": 100.0}
    (tmp_path / "zero.json").write_text(json.dumps(before))
    steps = [counting("zero", tmp_path / "ran"), first, second]
    assert gpu.work(steps, tmp_path, 60) == gpu.MORE_TO_DO
    assert (tmp_path / "ran").read_text() == "x"  # the first of a call always begins


def test_every_method_is_checked_and_run_with_every_seed(monkeypatch, tmp_path):
    names = [step.name for step in planned(monkeypatch, tmp_path)]
    assert len(set(names)) == len(names)
    for method in registry.names():
        assert f"correctness-{method}" in names
        assert {f"run-{method}-s{seed}" for seed in range(3)} <= set(names)
    assert {"correctness-daformer-compiled", "correctness-dualkd-compiled"} <= set(names)
    table = [f"-{p}-compile_{c}" for p in ("fp32", "bf16") for c in ("off", "default")]
    assert sum(name.startswith("speed-") and name.endswith(tuple(table)) for name in names) == 48


def test_what_is_asked_first_comes_first(monkeypatch, tmp_path):
    """Half an hour of a GPU reaches the main job's runs."""
    names = [step.name for step in planned(monkeypatch, tmp_path, "--seeds", "3,4")]
    b5, r101 = "speed-daformer_mitb5-alone", "speed-deeplabv2_r101-alone"
    assert names[:15] == [
        "correctness-daformer",
        "correctness-dualkd",
        f"{b5}-fp32-compile_off",
        f"{b5}-bf16-compile_off",
        f"{b5}-bf16-compile_default",
        f"{b5}-bf16-compile_off-channels_last",
        f"{b5}-bf16-compile_cudagraphs",
        f"{b5}-fp32-compile_off-tf32",
        f"{r101}-fp32-compile_off",
        f"{r101}-bf16-compile_off",
        f"{r101}-bf16-compile_default",
        f"{r101}-bf16-compile_off-channels_last",
        "run-dualkd-s3",
        "run-source_only-s3",
        "run-daformer-s3",
    ]


def test_methods_that_are_not_asked_for_have_no_step(monkeypatch, tmp_path):
    names = [step.name for step in planned(monkeypatch, tmp_path, "--methods", "mic")]
    assert [name for name in names if not name.startswith("speed-")] == [
        "correctness-mic", "run-mic-s0", "run-mic-s1", "run-mic-s2",
    ]  # fmt: skip


def timed(step_ms: float, mib: float, unmet: tuple[str, ...] = ()) -> str:
    """A file as `bench speed --json` writes it."""
    spread = {"median": step_ms, "q1": step_ms - 1, "q3": step_ms + 1, "rounds": 8}
    steps = {"images": 2, "step_ms": spread, "parts_ms": {}, "round_ms": [], "warm_up_rounds": 2}
    result = {
        "case": {"method": "daformer", "profile": "paper"},
        "unmet": unmet,
        "steps": steps | {"stable": True},
        "memory": {"mib": mib, "kind": "cuda"},
    }
    report = {"created": "now", "machine": {"device": "NVIDIA X"}, "seconds": 8, "at": 0.7}
    return json.dumps(report | {"results": [result]})


def test_the_summary_has_the_first_students_cases_and_their_goals(monkeypatch, tmp_path):
    steps = planned(monkeypatch, tmp_path)
    b5 = "speed-daformer_mitb5-alone"
    done = {
        f"{b5}-fp32-compile_off": timed(240, 20_000),
        f"{b5}-bf16-compile_cudagraphs": timed(60, 9_000, ("compile=cudagraphs: slower",)),
        "speed-daformer_mitb0-alone-fp32-compile_off": timed(1, 1),
    }
    (tmp_path / "figures").mkdir()
    for name, text in done.items():
        (tmp_path / "figures" / f"{name}.json").write_text(text)
        (tmp_path / f"{name}.json").write_text(json.dumps({"state": "done"}))
    (tmp_path / "correctness-mic.json").write_text(json.dumps({"state": "failed"}))
    table = gpu.summarise(steps, tmp_path)
    assert table == (tmp_path / "summary.md").read_text()
    assert "NVIDIA X" in table
    assert "reference itself was not run" in " ".join(table.split())
    rows = [line for line in table.splitlines() if line.startswith(("| fp32", "| bf16"))]
    assert rows == [
        "| fp32 | off |  | 240.0 (239.0 to 241.0) | 20,000 | 160.0 | 1.00 | 1.00 |  |",
        "| bf16 | cudagraphs |  | 60.0 (59.0 to 61.0) | 9,000 | 40.0 | 4.00 | 0.45 "
        "| compile=cudagraphs: slower |",
    ]
    assert "Failed: correctness-mic." in table
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert [row["minutes"] for row in summary["rows"]] == [160, 40]
    assert summary["goals"] == {"minutes": 40, "times_as_fast": 4, "memory_share": 0.5}


def test_a_summary_of_nothing_says_so(monkeypatch, tmp_path):
    steps = planned(monkeypatch, tmp_path)
    assert "nothing measured yet" in gpu.summarise(steps, tmp_path)


def test_the_summarys_steps_are_those_of_profile_paper():
    plan = SpeedCase(method="daformer", profile="paper").plan()
    assert plan.spec.profile.iterations == gpu_summary.STEPS
    assert plan.spec.student == next(iter(gpu_plan.FIRST_CASES))


@pytest.mark.parametrize("tiny", [[], ["--tiny"]])
def test_commands_have_options_that_bench_has(monkeypatch, tmp_path, tiny):
    from typer.main import get_command

    from harness.cli.main import app

    for planned_step in planned(monkeypatch, tmp_path, *tiny):
        if planned_step.kind.startswith("correctness"):
            continue
        verb, *arguments = planned_step.command[len(gpu_plan.BENCH) :]
        command = get_command(app).commands[verb]
        context = command.make_context(verb, list(arguments))
        assert context.params["method"]
