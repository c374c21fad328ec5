"""`bench run` from the command line to the record, on a handful of generated images."""

from __future__ import annotations

import getpass
import json
import socket
from pathlib import Path

import pytest
from bench_cli import QUICK, Outcome, bench, refused
from real_formats import cut_short, write_cityscapes, write_gta5

from harness.records import store
from harness.records.schema import Record

DUALKD = ["run", "--method", "dualkd", "--scenario", "gta2cs", *QUICK]
NOTICE = "generated data: figures are not comparable with papers"


@pytest.fixture(scope="session")
def first(made_once) -> Outcome:
    """What a run of dualkd, teacher and all, printed."""
    return made_once("dualkd").outcome


@pytest.fixture(scope="session")
def results(made_once) -> Path:
    return made_once("dualkd").results


@pytest.fixture(scope="session")
def made(first, results) -> dict[str, Record]:
    assert first.code == 0, first.err
    return {r.spec.method: r for r in store.read_all(results / "records")}


def reproducible(metrics):
    """Without the memory that tensors held: this process holds those of other tests too."""
    return metrics.model_copy(update={"golden": metrics.golden.losses})


def test_a_run_ends_well_and_first_says_that_its_data_is_generated(first):
    assert first.code == 0, first.err
    assert first.out.splitlines()[0] == NOTICE


def test_the_frozen_teacher_is_trained_before_the_student(first, made):
    assert set(made) == {"source_only", "dualkd"}
    lines = first.out.splitlines()
    teacher = next(i for i, line in enumerate(lines) if "trained on the source first" in line)
    student = max(i for i, line in enumerate(lines) if "kd_target" in line)
    assert teacher < student
    assert made["source_only"].spec.student == "mini_xs"
    assert made["source_only"].spec.profile.iterations == 3
    assert made["source_only"].created <= made["dualkd"].created


def test_progress_shows_losses_speed_memory_and_time_left(first):
    line = next(line for line in first.out.splitlines() if line.strip().startswith("4/4  source"))
    for word in ("mixed", "kd_target", "img/s", "MiB", "ETA"):
        assert word in line


def test_the_memory_shown_while_training_is_the_records(first, made):
    line = next(line for line in first.out.splitlines() if line.strip().startswith("4/4  source"))
    shown = float(line.partition(" peak ")[2].split()[0])
    assert shown <= made["dualkd"].cost.training.memory_mib + 0.5


def test_the_table_follows(first):
    table = first.out[first.out.rindex("ETA") :]
    assert "GTA5 -> Cityscapes, profile tiny" in table
    for word in ("dualkd", "test_mit", "mini_xs", "mIoU", "img/s", "MiB"):
        assert word in table
    assert "source_only" not in table, "the teacher's schedule is another: no comparison"
    assert NOTICE in " ".join(table.split())


def test_the_record_holds_figures_and_their_cost(made):
    record = made["dualkd"]
    assert record.state == "done"
    metrics, cost = record.metrics, record.cost
    assert 0 <= metrics.student.miou <= 100
    assert metrics.ema_teacher is not None
    assert metrics.val_images == 2
    assert sum(map(sum, metrics.student.confusion)) <= 2 * 96 * 48
    assert {"source", "kd_target"} <= set(metrics.losses)
    assert len(metrics.losses["source"]) == 4
    assert cost.parameters_m == pytest.approx(0.05, abs=0.01)
    assert cost.gflops > 0
    assert cost.training.steps > 0
    assert cost.training.images_per_second > 0
    assert cost.training.memory_mib >= 0  # above the baseline: four steps may fit in freed pages
    assert cost.training.memory_peak_mib > 0
    assert cost.inference.resolution == (48, 96)
    assert cost.wall_seconds > cost.training.wall_seconds > 0
    assert cost.training.processor_seconds > 0
    assert cost.training.timed_by == cost.inference.timed_by == "wall clock"


def test_the_teachers_cost_and_quality_stand_beside_the_students(made):
    (teacher,) = made["dualkd"].cost.teachers
    assert teacher.network == "mini_xs"
    assert teacher.weights_id == made["source_only"].spec.weights_id
    assert teacher.miou == made["source_only"].metrics.student.miou
    assert teacher.training == made["source_only"].cost.training
    assert not teacher.reused


def test_a_record_names_no_person_no_machine_and_no_folder(made, results):
    for file in (results / "records").iterdir():
        text = file.read_text()
        for word in (getpass.getuser(), socket.gethostname(), str(results), str(Path.home())):
            assert f'"{word}"' not in text
            assert f"{word}/" not in text
    provenance = made["dualkd"].provenance
    for key in ("code", "versions", "cpu", "gpu", "flags"):
        assert key in provenance


def test_the_weights_lie_whole_beside_their_record(made, results):
    record = made["dualkd"]
    folder = results / "artifacts" / record.spec.weights_id
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "student.safetensors", "ema_teacher.safetensors", "training.json", "run.json",
        "log.jsonl", ".lock",
    }  # fmt: skip
    assert store.read(folder / "run.json") == record
    steps = [json.loads(line)["step"] for line in (folder / "log.jsonl").read_text().splitlines()]
    assert steps == [2, 4]


def test_the_stored_weights_give_the_recorded_miou(made, results):
    """Loaded in a fresh network and scored again: what a user does with a checkpoint."""
    from harness.config.replanning import replan
    from harness.data.eval_loader import eval_batches
    from harness.evaluation.metrics import evaluate
    from methods.networks import zoo
    from methods.networks.weights import load_weights

    record = made["dualkd"]
    network = zoo.build(record.spec.student)
    load_weights(network, results / "artifacts" / record.spec.weights_id / "student.safetensors")
    target = replan(record.spec, None).sources.target.open("val")
    matrix = evaluate(network, eval_batches(target, (96, 48)))
    assert matrix.tolist() == record.metrics.student.confusion


def test_the_teacher_is_found_again_and_the_run_repeats_exactly(made, made_once, tmp_path):
    """With loader processes too: they change nothing but speed."""
    results = made_once("dualkd").copy_to(tmp_path)
    log = results / "artifacts" / made["source_only"].spec.weights_id / "log.jsonl"
    before = log.stat().st_mtime_ns
    again = bench(*DUALKD, "--set", "workers=2", "--fresh", "--results", results)
    assert again.code == 0, again.err
    assert "trained on the source first" not in again.out
    assert log.stat().st_mtime_ns == before
    records = {r.spec.method: r for r in store.read_all(results / "records")}
    assert len(records) == 2
    record = records["dualkd"]
    assert record.cost.teachers[0].reused
    assert record.cost.teachers[0].training == made["source_only"].cost.training
    assert reproducible(record.metrics) == reproducible(made["dualkd"].metrics)


def test_a_run_from_synthia_has_the_conventions_of_16_classes_and_an_ema_teacher(tmp_path):
    outcome = bench(
        "run", "--method", "daformer", "--scenario", "synthia2cs", *QUICK, "--results", tmp_path
    )
    assert outcome.code == 0, outcome.err
    assert outcome.out.splitlines()[0] == NOTICE
    (record,) = store.read_all(tmp_path / "records")
    assert record.spec.method == "daformer"
    assert set(record.metrics.student.iou).isdisjoint({"terrain", "truck", "train"})
    assert {"rescaled19", "ignored16", "rescaled19_13"} <= set(record.metrics.student.conventions)
    assert record.metrics.ema_teacher is not None


def test_another_seed_is_another_run(made, results, tmp_path):
    args = ["run", "--method", "source_only", "--scenario", "gta2cs", "--student", "mini_xs"]
    args += [*QUICK[2:], "--set", "iterations=3"]
    assert bench(*args, "--seed", "1", "--results", tmp_path).code == 0
    zero, (one,) = made["source_only"], store.read_all(tmp_path / "records")
    assert (zero.spec.seed, one.spec.seed) == (0, 1)
    assert one.spec.model_copy(update={"seed": 0}) == zero.spec
    assert zero.metrics.losses != one.metrics.losses
    assert zero.metrics.student.confusion != one.metrics.student.confusion


def test_a_checkpoint_can_be_the_frozen_teacher_and_the_students_start(made, results, tmp_path):
    weights = results / "artifacts" / made["source_only"].spec.weights_id / "student.safetensors"
    outcome = bench(
        *DUALKD, "--teacher", "mini_xs", "--teacher-checkpoint", weights, "--results", tmp_path
    )
    assert outcome.code == 0, outcome.err
    (record,) = store.read_all(tmp_path / "records")
    assert record.cost.teachers[0].checkpoint == "student.safetensors"
    assert reproducible(record.metrics) == reproducible(made["dualkd"].metrics), (
        "the same teacher, whichever way it came"
    )

    by_id = ["--teacher-checkpoint", made["source_only"].run_id, "--results", results]
    named = bench(*DUALKD, *by_id, "--dry-run", "--format", "json")
    assert named.code == 0, named.err
    assert json.loads(named.out)["run_id"] == record.run_id, "by its id, the network its own"
    without = refused(bench("run", "--method", "dacs", "--scenario", "gta2cs", *by_id))
    assert without.startswith("bench: --teacher-checkpoint"), "what was typed, not what it implies"

    own = results / "artifacts" / made["dualkd"].spec.weights_id / "student.safetensors"
    args = ["run", "--method", "source_only", "--scenario", "gta2cs", *QUICK]
    assert bench(*args, "--init", own, "--results", tmp_path / "warm").code == 0
    (record,) = store.read_all(tmp_path / "warm" / "records")
    assert record.spec.init


def test_a_checkpoint_of_another_network_is_the_users_error(made, results, tmp_path):
    weights = results / "artifacts" / made["dualkd"].spec.weights_id / "student.safetensors"
    outcome = bench(
        *DUALKD, "--teacher", "mini_xs", "--teacher-checkpoint", weights, "--results", tmp_path
    )
    assert "student.safetensors" in refused(outcome)


def test_a_diverging_run_fails_with_a_record_and_one_line(tmp_path):
    args = ["run", "--method", "source_only", "--scenario", "gta2cs", *QUICK]
    outcome = bench(*args, "--set", "lr=1e30", "--results", tmp_path)
    message = refused(outcome)
    assert "became nan" in message or "became inf" in message
    (record,) = store.read_all(tmp_path / "records")
    assert record.state == "failed"
    assert "became" in record.error
    assert record.metrics is None
    assert not list(tmp_path.rglob("run.json")), "no weights to be mistaken for trained ones"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--method", "dafomer"], ["'dafomer'", "'daformer'"]),
        (["--scenario", "gta2city"], ["'gta2city'", "'gta2cs'"]),
        (["--profile", "tyni"], ["'tyni'", "'tiny'"]),
        (["--student", "mini_x"], ["'mini_x'", "'mini_xs'"]),
        (["--teacher", "mini_m"], ["--teacher", "no frozen teacher"]),
        (["--set", "iteration=3"], ["'iteration'", "'iterations'"]),
        (["--set", "iterations=0"], ["iterations", "greater than"]),
        (["--set", "lr"], ["KEY=VALUE"]),
        (["--init", "nowhere.pt"], ["nowhere.pt"]),
        (["--data-root", "/nowhere"], ["/nowhere", "gta5"]),
        (["--scenario", "gta2camvid"], ["camvid", "--data-root"]),
        (["--device", "banana"], ["banana", "cpu"]),
        (["--device", "cuda:99"], ["cuda:99"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else None,
)
def test_a_users_error_is_one_line_and_nothing_is_written(arguments, words, tmp_path):
    usual = {"--method": "source_only", "--scenario": "gta2cs", "--results": tmp_path / "new"}
    others = [word for item in usual.items() if item[0] not in arguments for word in item]
    message = refused(bench("run", *others, *arguments))
    assert all(word in message for word in words), message
    assert not (tmp_path / "new").exists()


def test_a_cache_that_cannot_be_written_is_told_before_any_work(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.touch()
    monkeypatch.setenv("UDA_BENCH_CACHE", str(blocked / "cache"))
    outcome = bench(*DUALKD, "--results", tmp_path / "results")
    assert "set UDA_BENCH_CACHE to another" in refused(outcome)
    assert "counting" not in outcome.out
    assert "drawing" not in outcome.out


def test_debug_shows_where_an_error_comes_from(monkeypatch):
    monkeypatch.setenv("UDA_BENCH_DEBUG", "1")
    from harness.errors import BenchError

    with pytest.raises(BenchError, match="dafomer"):
        bench("--debug", "run", "--method", "dafomer", "--scenario", "gta2cs")


def test_real_data_is_used_where_it_lies_and_nothing_is_added_to_it(tmp_path):
    data = tmp_path / "data"
    write_gta5(data, 4)
    write_cityscapes(data, 4, 2)
    before = sorted(data.rglob("*"))
    outcome = bench(
        "run", "--method", "daformer", "--scenario", "gta2cs", "--profile", "tiny", *QUICK,
        "--data-root", data, "--results", tmp_path / "results",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "generated data" not in outcome.out
    assert sorted(data.rglob("*")) == before
    (record,) = store.read_all(tmp_path / "results" / "records")
    assert not record.spec.source.generated
    assert str(data) not in record.model_dump_json()


@pytest.mark.parametrize(
    "broken", ["gta5/images/00002.png", "gta5/labels/00002.png", "cityscapes/leftImg8bit/val"]
)
def test_a_half_written_file_stops_the_run_before_any_training(broken, tmp_path):
    data = tmp_path / "data"
    write_gta5(data, 4)
    write_cityscapes(data, 4, 2)
    path = data / broken
    file = path if path.is_file() else next(path.rglob("*.png"))
    cut_short(file)
    outcome = bench(*DUALKD, "--data-root", data, "--results", tmp_path / "results")
    assert outcome.code == 2
    assert file.name in outcome.err
    assert "half-written" in outcome.err
    assert "Traceback" not in outcome.err
    assert "trained on the source first" not in outcome.out
    assert not (tmp_path / "results").exists()


def test_a_target_without_labels_is_enough_for_adaptation(tmp_path):
    data = tmp_path / "data"
    write_gta5(data, 4)
    for label in (write_cityscapes(data, 4, 2) / "gtFine" / "train").rglob("*.png"):
        label.unlink()
    args = ["--scenario", "gta2cs", "--profile", "tiny", *QUICK, "--data-root", data]
    place = tmp_path / "results"
    assert bench("run", "--method", "daformer", *args, "--results", place).code == 0
    oracle = bench("run", "--method", "oracle", *args, "--results", place)
    assert oracle.code == 2
    assert "no such file" in oracle.err


def test_a_failed_record_is_one_line_and_names_no_folder():
    """A loader process hands over its traceback, and errors name files: neither is for a record."""
    from harness.errors import in_one_line, without_folders

    handed_over = (
        "Caught DataError in DataLoader worker process 0.\nOriginal Traceback (most recent"
    )
    handed_over += ' call last):\n  File "/home/me/x.py", line 1\nharness.errors.DataError: '
    handed_over += "/home/me/gta5/images/1.png: cut short; copy it again"
    line = in_one_line(RuntimeError(handed_over))
    assert line == "/home/me/gta5/images/1.png: cut short; copy it again"
    assert without_folders(line) == "1.png: cut short; copy it again"
    assert without_folders("1/2 of img/s, a/b") == "1/2 of img/s, a/b"
