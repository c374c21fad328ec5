"""`bench eval`: any checkpoint on a scenario's validation images."""

from __future__ import annotations

import json
import re
import shutil

import pytest
import torch
from bench_cli import QUICK, SETTINGS, bench, refused
from cityscapes import CITYSCAPES
from documented import ROOT
from real_formats import write_camvid, write_cityscapes

from harness.data.sources import find_target
from harness.evaluation.metrics import evaluate, scores
from harness.measure.allocator import WITHOUT_TRAINING
from harness.records import store
from methods.networks import zoo
from methods.networks.weights import save_weights

TARGET = [s for s in SETTINGS if s.startswith(("generated", "image_size", "workers"))]
SET = [part for s in TARGET for part in ("--set", s)]
VIEWS = ["--set", "slide=32,64,16,32", "--set", "tta_flip=true", "--set", "tta_scales=1,1.5"]
PLAIN = ["--set", "slide=null", "--set", "tta_flip=false", "--set", "tta_scales=1"]


def network(seed: int):
    torch.manual_seed(seed)
    return zoo.build("test_mit").eval()


@pytest.fixture
def own_file(tmp_path):
    path = tmp_path / "own.safetensors"
    save_weights(network(1), path, {"network": "test_mit", "run_id": "x"})
    return path


@pytest.fixture
def published_file(tmp_path):
    """A self-training checkpoint by DAFormer's names: student of seed 1, EMA teacher of seed 2."""
    state = {}
    for prefix, seed in (("model.", 1), ("ema_model.", 2)):
        for key, value in network(seed).state_dict().items():
            key = key.replace("encoder.", "backbone.", 1).replace("head.", "decode_head.", 1)
            state[prefix + key] = value
    path = tmp_path / "iter_40000.pth"
    torch.save({"meta": {"iter": 40000}, "state_dict": state}, path)
    return path


def expected_confusion(seed: int) -> list[list[int]]:
    from harness.config import catalogue
    from harness.config.overrides import apply_overrides
    from harness.data.eval_loader import eval_batches
    from methods.contract import Method

    profile, scenario = catalogue.profile("tiny"), catalogue.scenario("synthia2cs")
    profile, scenario, _ = apply_overrides(TARGET, profile, scenario, Method.Config, {})
    val = find_target(scenario, profile, None).open("val")
    matrix = evaluate(network(seed), eval_batches(val, profile.image_size["cityscapes"]))
    return scores(matrix, CITYSCAPES, "rescaled19").confusion


def evaluation(*arguments) -> dict:
    outcome = bench("eval", *arguments, "--format", "json")
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)


def test_our_own_file_says_its_network(own_file, monkeypatch):
    kept = []  # freed blocks, as in a run: the maps of one batch serve the next
    monkeypatch.setattr("harness.weights.score.keep_freed_blocks", kept.append)
    result = evaluation("--checkpoint", own_file, "--scenario", "synthia2cs", *SET)
    assert kept == [WITHOUT_TRAINING]
    assert result["network"] == "test_mit"
    assert result["format"] == "uda-bench weights"
    assert result["target"]["generated"]
    assert result["scores"]["confusion"] == expected_confusion(1)
    assert set(result["scores"]["conventions"]) == {
        "all19", "rescaled19", "rescaled19_13", "ignored16", "ignored16_13",
    }  # fmt: skip


def test_a_metric_on_request_stands_beside_those_of_every_run(own_file):
    arguments = ["--checkpoint", own_file, "--scenario", "gta2cs", *SET]
    plain = evaluation(*arguments)["scores"]
    asked = evaluation(*arguments, "--set", "metrics=boundary_iou")["scores"]
    boundary = asked["figures"].pop("boundary_iou")
    assert 0 <= boundary <= 100
    assert asked == plain
    assert list(plain["figures"]) == ["pixel_accuracy"]
    shown = bench("eval", *arguments, "--set", "metrics=boundary_iou").out
    assert f"boundary IoU {boundary:.2f} %" in " ".join(shown.split())
    refused = bench("eval", *arguments, "--set", "metrics=boundary")
    assert refused.code == 2
    assert "did you mean 'boundary_iou'" in refused.err


@pytest.mark.parametrize(
    ("part", "seed", "origin"),
    [("student", 1, "self-training checkpoint, student"), ("ema", 2, "moving average")],
)
def test_a_published_checkpoint_gives_the_student_or_its_teacher(
    published_file, part, seed, origin
):
    result = evaluation(
        "--checkpoint", published_file, "--scenario", "synthia2cs", "--student", "test_mit",
        "--part", part, *SET,
    )  # fmt: skip
    assert origin in result["format"]
    assert result["part"] == part
    assert result["scores"]["confusion"] == expected_confusion(seed)


def test_the_threads_that_scored_and_the_teachers_file_are_recorded(own_file):
    ema_teacher = shutil.copy(own_file, own_file.with_name("ema_teacher.safetensors"))
    arguments = ["--scenario", "gta2cs", *SET, "--set", "threads=2"]
    found = evaluation("--checkpoint", ema_teacher, *arguments)
    assert found["provenance"]["flags"]["torch_threads"] == 2
    assert found["part"] == "ema"


def test_tables_and_the_file_say_the_same(own_file, tmp_path):
    arguments = ["--checkpoint", own_file, "--scenario", "gta2cs", *SET]
    out = tmp_path / "found" / "eval.json"
    shown = bench("eval", *arguments, "--out", out)
    assert shown.code == 0, shown.err
    written = json.loads(out.read_text())
    assert "figures are not comparable with papers" in shown.out
    for convention, value in written["scores"]["conventions"].items():
        assert f"{convention} " in shown.out
        assert f"{value:.2f}" in shown.out
    assert "motorcycle" in shown.out
    followed = f"next: bench predict IMAGES --checkpoint {own_file} --out DIR; bench export"
    assert followed in shown.out.splitlines()[-1]
    markdown = bench("eval", *arguments, "--format", "markdown").out
    assert markdown.startswith("### own.safetensors (test_mit) on GTA5 -> Cityscapes")
    row = rf"\| all19 +\| +{written['scores']['miou']:.2f} \|"
    assert re.search(row, markdown)
    assert "whole images" in markdown


def test_a_run_is_scored_as_it_was_and_otherwise_when_asked(tmp_path):
    run = bench(
        "run", "--method", "source_only", "--scenario", "gta2cs", "--results", tmp_path, *QUICK,
        *VIEWS,
    )  # fmt: skip
    assert run.code == 0, run.err
    record = store.read_all(tmp_path / "records")[0]
    assert record.spec.profile.slide == (32, 64, 16, 32)
    folder = tmp_path / "artifacts" / record.spec.weights_id
    for name in (record.run_id, record.spec.weights_id, folder, folder / "student.safetensors"):
        again = evaluation("--checkpoint", name, "--results", tmp_path)
        assert again["scores"] == json.loads(record.metrics.student.model_dump_json())
    plain = evaluation("--checkpoint", record.run_id, "--results", tmp_path, *PLAIN)
    assert plain["scores"]["confusion"] != record.metrics.student.confusion
    assert plain["profile"]["slide"] is None
    ours = evaluation(
        "--checkpoint", record.run_id, "--results", tmp_path, "--scenario", "synthia2cs"
    )
    assert ours["scores"]["confusion"] == record.metrics.student.confusion
    assert ours["scenario"]["name"] == "synthia2cs"


def test_the_target_alone_is_enough(own_file, tmp_path):
    """Only the validation images are read: neither GTA5 nor training labels need be there."""
    write_cityscapes(tmp_path / "data", 1, 2)
    result = evaluation(
        "--checkpoint", own_file, "--scenario", "gta2cs", "--data-root", tmp_path / "data",
        "--profile", "tiny", "--set", "workers=0",
    )  # fmt: skip
    assert not result["target"]["generated"]
    assert result["target"]["val_images"] == 2


def test_what_does_not_fit_is_refused_in_one_line(own_file, published_file, tmp_path):
    here = ["--scenario", "gta2cs", *SET]
    assert "no such file or run" in refused(bench("eval", "--checkpoint", "nothing", *here))
    assert "--scenario" in refused(bench("eval", "--checkpoint", own_file, *SET))
    assert "no ema teacher" in refused(
        bench("eval", "--checkpoint", own_file, "--part", "ema", *here)
    )
    wrong = bench("eval", "--checkpoint", published_file, "--student", "test_deeplab", *here)
    assert "does not fit test_deeplab" in refused(wrong)
    unknown = bench("eval", "--checkpoint", own_file, "--student", "mini_z", *here)
    assert "mini_" in refused(unknown)
    gaps = bench("eval", "--checkpoint", own_file, *here, "--set", "slide=8,8,9,9")
    assert "leaves gaps" in refused(gaps)
    empty = bench("eval", "--checkpoint", own_file, *here, "--data-root", tmp_path)
    assert "found no cityscapes" in refused(empty)
    (tmp_path / "broken.pth").write_text("not weights")
    broken = bench("eval", "--checkpoint", tmp_path / "broken.pth", *here)
    assert "neither a safetensors nor a torch file" in refused(broken)


def test_camvids_validation_frames_are_a_second_column(tmp_path):
    camvid = write_camvid(tmp_path / "data", 3)
    for folder in ("val", "valannot"):
        (camvid / folder / "0016E5_07959.png").unlink()
    data = ["--data-root", tmp_path / "data"]
    options = ["--scenario", "gta2camvid", "--profile", "tiny", *data]
    results = ["--results", tmp_path / "runs"]
    run = bench("run", "--method", "daformer", *options, *results, *QUICK)
    assert run.code == 0, run.err
    (record,) = store.read_all(tmp_path / "runs" / "records")
    second = record.metrics.second
    assert (second.split, second.images) == ("val", 2)
    asked = ["--checkpoint", record.run_id, *results, *data, "--set", "eval_split=val"]
    on_val = evaluation(*asked)
    assert second.student.confusion == on_val["scores"]["confusion"]
    assert second.student.confusion != record.metrics.student.confusion
    by_ema = evaluation(*asked, "--part", "ema")
    assert second.ema_teacher.confusion == by_ema["scores"]["confusion"]
    shown = bench("table", *results, "--format", "markdown").out
    assert "| mIoU % on val | EMA teacher mIoU % on val |" in re.sub(" +", " ", shown)
    renamed = record.spec.model_copy(
        update={"scenario": record.spec.scenario.model_copy(update={"second_split": ""})}
    )
    assert renamed.run_id == record.run_id


def test_a_second_split_that_is_asked_for_later_is_scored_without_training(tmp_path):
    write_camvid(tmp_path / "data", 3)
    shipped = (ROOT / "benchmarks/scenarios/gta2camvid.toml").read_text(encoding="utf-8")
    scenario = tmp_path / "gta2camvid.toml"
    options = ["--scenario", scenario, "--profile", "tiny", "--data-root", tmp_path / "data"]
    options += ["--method", "source_only", "--results", tmp_path / "runs", *QUICK]
    seconds = []
    for text in (shipped.replace('second_split = "val"', ""), shipped, shipped):
        scenario.write_text(text)
        run = bench("run", *options)
        assert run.code == 0, run.err
        (record,) = store.read_all(tmp_path / "runs" / "records")
        seconds.append(record.metrics.second)
        said = " ".join(run.out.split())
        assert ("trained before, used again" in said) == (len(seconds) == 2)
    assert seconds[0] is None
    assert seconds[1].split == "val"
    assert seconds[2] == seconds[1]
    assert "is done" in said


def test_frames_of_a_second_split_that_are_not_there_are_a_column_less(tmp_path):
    camvid = write_camvid(tmp_path / "data", 3)
    for folder in ("val", "valannot"):
        shutil.rmtree(camvid / folder)
    options = ["--scenario", "gta2camvid", "--profile", "tiny", "--data-root", tmp_path / "data"]
    results = ["--results", tmp_path / "runs"]
    run = bench("run", "--method", "source_only", *options, *results, *QUICK)
    assert run.code == 0, run.err
    (record,) = store.read_all(tmp_path / "runs" / "records")
    assert record.metrics.second is None
    scenario = tmp_path / "other.toml"
    shipped = (ROOT / "benchmarks/scenarios/gta2camvid.toml").read_text(encoding="utf-8")
    scenario.write_text(shipped.replace('second_split = "val"', 'second_split = "vall"'))
    options = ["--scenario", scenario, "--profile", "tiny", "--data-root", tmp_path / "data"]
    said = refused(bench("run", "--method", "source_only", *options, *results, *QUICK))
    assert "camvid has no split 'vall', only train and val" in said
    assert " on val" not in bench("table", *results, "--format", "markdown").out


def test_camvid_at_dusk_from_training_to_another_split(tmp_path):
    """One data set as source and target; a trained network is scored on other images too."""
    write_camvid(tmp_path / "data", 3)
    data = ["--data-root", tmp_path / "data"]
    options = ["--scenario", "camvid_day2dusk", "--profile", "tiny", *data]
    run = bench("run", "--method", "daformer", *options, "--results", tmp_path / "runs", *QUICK)
    assert run.code == 0, run.err
    (record,) = store.read_all(tmp_path / "runs" / "records")
    assert record.spec.scenario.eval_split == "dusk_test"
    assert record.metrics.student.conventions.keys() == {"camvid11"}
    asked = ["--checkpoint", record.run_id, "--results", tmp_path / "runs", *data]
    again = evaluation(*asked)
    (tmp_path / "data" / "camvid" / "val" / "0016E5_07959.png").unlink()
    (tmp_path / "data" / "camvid" / "valannot" / "0016E5_07959.png").unlink()
    by_day = evaluation(*asked, "--set", "eval_split=day")
    assert again["scores"]["confusion"] == record.metrics.student.confusion
    assert by_day["scenario"]["eval_split"] == "day"
    pixels = [sum(map(sum, result["scores"]["confusion"])) for result in (by_day, again)]
    assert 3 * pixels[0] == 2 * pixels[1]  # two frames by day are left, three at dusk


def test_weights_that_training_did_not_write_so_are_refused(made_once, tmp_path):
    results = made_once("source_only").copy_to(tmp_path / "results")
    (weights,) = (results / "artifacts").glob("*/student.safetensors")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    (image := tmp_path / "photograph.png").write_bytes(b"")
    for verb in (
        ["eval", "--checkpoint", weights, "--scenario", "gta2cs"],
        ["predict", image, "--checkpoint", weights.parent, "--out", tmp_path / "predicted"],
        ["export", "--checkpoint", weights, "--out", tmp_path / "exported"],
        ["run", "--method", "dualkd", "--scenario", "gta2cs", "--teacher-checkpoint", weights],
    ):
        said = refused(bench(*verb))
        assert "student.safetensors is not as training wrote it" in said
        assert "--fresh" in said
    copied = shutil.copy(weights, tmp_path / "copied.safetensors")
    assert evaluation("--checkpoint", copied, "--scenario", "gta2cs", *SET)["scores"]["miou"] > 0
