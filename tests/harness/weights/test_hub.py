"""`bench export --hub`: a folder that the Hugging Face hub reads, whatever a record says."""

from __future__ import annotations

import json

import pytest
import yaml
from bench_cli import bench, refused
from fake_records import fake_record, without_labels
from safetensors.torch import load_file

from harness.records import store
from harness.weights.find import EMA_WEIGHTS, RUN, WEIGHTS
from methods.networks import zoo
from methods.networks.weights import save_weights


def run_folder(folder, **changes):
    """A run's folder, with its record."""
    folder.mkdir()
    record = fake_record("dualkd", scenario="synthia2cs", student="test_mit")
    spec = record.spec.model_copy(update=changes)
    metrics = record.metrics
    if metrics.ema_teacher is None:
        ema = metrics.student.model_copy(update={"miou": 12.5})
        metrics = metrics.model_copy(update={"ema_teacher": ema})
    code = {"code": {"version": "0.1.0", "commit": "ab" * 20, "dirty": False}}
    update = {"spec": spec, "run_id": spec.run_id, "metrics": metrics, "provenance": code}
    record = record.model_copy(update=update)
    for name in (WEIGHTS, EMA_WEIGHTS):
        save_weights(zoo.build("test_mit"), folder / name, {"network": "test_mit"})
    (folder / RUN).write_text(store.as_json(record), encoding="utf-8")
    return record


def to_hub(folder, out, *more):
    return bench("export", "--checkpoint", folder, "--hub", out, "--size", "64x64", *more)


def header(out):
    text = (out / "README.md").read_text("utf-8")
    _, values, page = text.split("---\n", 2)
    return yaml.safe_load(values), page


def test_the_folder_holds_weights_configuration_and_card(tmp_path):
    record = run_folder(tmp_path / "run")
    outcome = to_hub(tmp_path / "run", tmp_path / "hub")
    assert outcome.code == 0, outcome
    assert "with its model card" in outcome.out
    assert f"next: read {tmp_path / 'hub' / 'README.md'}; hf upload" in outcome.out
    names = {file.name for file in (tmp_path / "hub").iterdir()}
    assert names == {"model.safetensors", "config.json", "README.md"}
    config = json.loads((tmp_path / "hub/config.json").read_text("utf-8"))
    assert config["network"] == "test_mit"
    assert config["id2label"]["13"] == "car"
    assert config["spec"]["method"] == "dualkd"
    assert len(config["image_mean"]) == 3
    zoo.build(config["network"]).load_state_dict(load_file(tmp_path / "hub/model.safetensors"))
    values, page = header(tmp_path / "hub")
    assert values["license"] == "apache-2.0"
    for part in ("| method | dualkd |", "ab" * 20, "not comparable with papers", "| IoU, road |"):
        assert part in page
    for convention, value in record.metrics.student.conventions.items():
        assert f"| mIoU ({convention}) | {value:.2f} |" in page


def test_the_hubs_own_code_reads_the_results(tmp_path):
    hub = pytest.importorskip("huggingface_hub")
    record = run_folder(tmp_path / "run")
    assert to_hub(tmp_path / "run", tmp_path / "hub").code == 0
    data = hub.ModelCard.load(tmp_path / "hub/README.md").data
    assert data.model_name == "dualkd, SYNTHIA -> Cityscapes, test_mit"
    results = {result.metric_name: result for result in data.eval_results}
    own = results["mIoU (rescaled19), percent"]
    assert own.metric_value == pytest.approx(record.metrics.student.miou, abs=1e-3)
    assert (own.metric_type, own.task_type) == ("mean_iou", "image-segmentation")
    assert own.dataset_type == "cityscapes-like"
    conventions = {"rescaled19", *record.metrics.student.conventions}
    expected = {f"mIoU ({name}), percent" for name in conventions}
    assert set(results) == expected | {"pixel accuracy, percent"}


def test_the_ema_teacher_goes_with_its_own_scores(tmp_path):
    run_folder(tmp_path / "run")
    assert to_hub(tmp_path / "run", tmp_path / "hub", "--part", "ema").code == 0
    values, page = header(tmp_path / "hub")
    assert values["model-index"][0]["results"][0]["metrics"][0]["value"] == 12.5
    assert "its EMA teacher" in page


def test_real_data_brings_its_terms(tmp_path):
    source = fake_record(scenario="synthia2cs").spec.source.model_copy(update={"generated": False})
    run_folder(tmp_path / "run", source=source)
    assert to_hub(tmp_path / "run", tmp_path / "hub").code == 0
    values, page = header(tmp_path / "hub")
    assert values["license"] == "other"
    assert "source: synthia, under its providers' own terms (CC BY-NC-SA 3.0)" in page
    assert "read https://synthia-dataset.net/downloads/ before" in page


def test_what_a_stranger_calls_a_run_stays_text(tmp_path):
    evil = 'x\n---\nlicense: mit\n---\n| <script>a</script> [b](http://c) ": {'
    run_folder(tmp_path / "run", method=evil)
    assert to_hub(tmp_path / "run", tmp_path / "hub").code == 0
    values, page = header(tmp_path / "hub")
    assert values["license"] == "apache-2.0"
    assert values["model-index"][0]["name"].startswith("x --- license: mit ---")
    assert "\nlicense" not in page
    assert "<script" not in page
    assert "[b](" not in page
    (row,) = [line for line in page.splitlines() if line.startswith("| method |")]
    assert row.replace("\\|", "").count("|") == 3


def test_weights_without_a_run_say_so(tmp_path):
    save_weights(zoo.build("test_mit"), tmp_path / "net.safetensors", {"network": "test_mit"})
    assert to_hub(tmp_path / "net.safetensors", tmp_path / "hub").code == 0
    values, page = header(tmp_path / "hub")
    assert "model-index" not in values
    assert "no record of the run is known" in page


def test_a_target_without_labels_has_no_results(tmp_path):
    record = without_labels(run_folder(tmp_path / "run"))
    (tmp_path / "run" / RUN).write_text(store.as_json(record), encoding="utf-8")
    assert to_hub(tmp_path / "run", tmp_path / "hub").code == 0
    values, page = header(tmp_path / "hub")
    assert "model-index" not in values
    assert "Not scored: the target has no labels." in page


def test_a_folder_of_anothers_model_is_not_replaced(tmp_path):
    run_folder(tmp_path / "run")
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    for name in ("README.md", "config.json", "model.safetensors"):
        (theirs / name).write_text('{"library_name": "transformers"}', encoding="utf-8")
    assert "--hub" in (line := refused(to_hub(tmp_path / "run", theirs)))
    assert "holds README.md" in line
    assert to_hub(tmp_path / "run", tmp_path / "ours").code == 0
    assert to_hub(tmp_path / "run", tmp_path / "ours").code == 0, "an earlier one is replaced"
    line = refused(bench("export", "--checkpoint", tmp_path / "run"))
    assert "expected --out DIR, --hub DIR, or both" in line
