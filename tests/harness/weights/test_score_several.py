"""`bench eval --on`: one checkpoint on several data sets, a column each."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from bench_cli import SETTINGS, bench, refused
from cityscapes import CITYSCAPES
from real_formats import save_png, street, write_cityscapes

from harness.data.datasets import open_dataset
from harness.data.eval_loader import eval_batches
from harness.evaluation.metrics import evaluate, scores
from harness.weights.score import Evaluation, evaluation_grids
from harness.weights.score_several import several_grids
from methods.networks import zoo
from methods.networks.weights import save_weights

SIZES = {"cityscapes": (96, 48), "bdd100k": (64, 48), "wilddash2": (64, 48)}
SET = [
    part
    for setting in (
        *(s for s in SETTINGS if s.startswith(("generated", "image_size", "workers"))),
        *(f"image_size.{name}={list(size)}" for name, size in SIZES.items()),
    )
    for part in ("--set", setting)
]


def network():
    torch.manual_seed(1)
    return zoo.build("test_mit").eval()


@pytest.fixture
def weights(tmp_path) -> Path:
    path = tmp_path / "own.safetensors"
    save_weights(network(), path, {"network": "test_mit", "run_id": "x"})
    return path


@pytest.fixture
def root(tmp_path) -> Path:
    """Cityscapes, BDD100K and WildDash 2, without anything to train on."""
    write_cityscapes(tmp_path / "data", 0, 2)
    for i in range(3):
        image, label = street(i)
        stem = f"{i:08x}-{i:08x}"
        save_png(tmp_path / f"data/bdd100k/images/10k/val/{stem}.png", image)
        save_png(tmp_path / f"data/bdd100k/labels/sem_seg/masks/val/{stem}.png", label)
        ids = np.where(label == 255, 0, label * 0 + 7)  # all road
        save_png(tmp_path / f"data/wilddash2/images/de{i:04d}_100000.png", image)
        save_png(tmp_path / f"data/wilddash2/labels/de{i:04d}_100000.png", ids.astype(np.uint8))
    return tmp_path / "data"


def expected(name: str, root: Path) -> list[list[int]]:
    matrix = evaluate(network(), eval_batches(open_dataset(name, root, "val"), SIZES[name]))
    return scores(matrix, CITYSCAPES, "all19").confusion


def test_each_set_is_scored_as_it_is_alone(weights, root):
    arguments = ["--checkpoint", weights, "--scenario", "gta2cs", *SET, "--data-root", root]
    done = bench("eval", *arguments, "--on", ",".join(SIZES), "--format", "json")
    assert done.code == 0, done.err
    results = json.loads(done.out)
    assert [result["target"]["dataset"] for result in results] == list(SIZES)
    assert len({result["checkpoint_sha256"] for result in results}) == 1
    for result in results:
        name = result["target"]["dataset"]
        assert result["scores"]["confusion"] == expected(name, root)
        assert (result["scenario"]["name"], result["scenario"]["scored"]) == ("gta2cs", name)


def test_the_table_has_a_column_a_set(weights, root, tmp_path):
    arguments = ["--checkpoint", weights, "--scenario", "gta2cs", *SET, "--data-root", root]
    out = tmp_path / "scores.json"
    done = bench("eval", *arguments, "--on", ",".join(SIZES), "--format", "markdown", "--out", out)
    assert done.code == 0, done.err
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in done.out.split("\n")]
    figures = [result["scores"]["conventions"]["all19"] for result in json.loads(out.read_text())]
    assert ["convention", "cityscapes", "bdd100k", "wilddash2", "mean"] in rows
    shown = next(row for row in rows if row[0] == "all19")
    assert shown[1:] == [f"{f:.2f}" for f in (*figures, sum(figures) / 3)]
    shares = [result["scores"]["iou"]["road"] for result in json.loads(out.read_text())]
    assert next(row for row in rows if row[0] == "road")[1:] == [f"{s:.2f}" for s in shares]
    assert "cityscapes: 2 images at 96x48, the scenario's target." in done.out
    assert "wilddash2: 3 images at 64x48." in done.out


def test_without_a_data_root_sets_are_generated(weights):
    arguments = ["--checkpoint", weights, "--scenario", "gta2cs", *SET, "--format", "markdown"]
    done = bench("eval", *arguments, "--on", "acdc,darkzurich,cityscapes")
    assert done.code == 0, done.err
    assert "acdc: 2 images at 96x54, generated: not comparable with papers." in done.out
    said = refused(bench("eval", *arguments, "--on", "acdc,mapillary"))
    assert "found no mapillary" in said


def test_a_file_of_ones_own_and_another_split(weights, root, tmp_path):
    own = tmp_path / "mine.toml"
    own.write_text(
        'folder = "data/bdd100k"\nclasses = "cityscapes19"\n'
        "[[layouts]]\n"
        'places = [{ images = "images/10k/val", labels = ["labels/sem_seg/masks/val"] }]\n'
        "[splits.first]\n[splits.rest]\nevery = 2\n"
        "[[encodings]]\ntrain_ids = true\nignored = [255]\n"
    )
    arguments = ["--checkpoint", weights, "--scenario", "gta2cs", *SET, "--data-root", root]
    arguments += ["--set", "image_scale=0.5", "--format", "json"]
    done = bench("eval", *arguments, "--on", f"{own}:rest,bdd100k")
    assert done.code == 0, done.err
    mine, shipped = json.loads(done.out)
    assert (mine["target"]["val_images"], shipped["target"]["val_images"]) == (2, 3)
    assert mine["scenario"]["eval_split"] == "rest"
    assert mine["profile"]["image_size"]["mine"] == [32, 24]


def test_files_of_one_name_are_not_taken_for_one_another(weights, root, tmp_path):
    for folder, every in (("a", 2), ("b", 3)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.toml").write_text(
            'folder = "../data/wilddash2"\nclasses = "cityscapes19"\n'
            '[[layouts]]\nplaces = [{ images = "images", labels = ["labels"] }]\n'
            f"[splits.train]\n[splits.val]\nevery = {every}\n"
            '[[encodings]]\nignored = [0]\n[encodings.ids]\n7 = "road"\n'
        )
    first, second = tmp_path / "a/mine.toml", tmp_path / "b/mine.toml"
    arguments = ["--checkpoint", weights, "--scenario", "gta2cs", *SET, "--set", "image_scale=1"]
    for on in (f"{first},{second}", f"{first},{second}:train"):
        said = refused(bench("eval", *arguments, "--on", on))
        assert "two data sets are called mine" in said
    done = bench("eval", *arguments, "--on", f"{first},{first}:train", "--format", "json")
    assert [result["target"]["val_images"] for result in json.loads(done.out)] == [2, 1]


def test_a_figure_of_nothing_is_a_dash(weights, root):
    arguments = ["--checkpoint", weights, "--scenario", "gta2cs", *SET, "--data-root", root]
    done = bench("eval", *arguments, "--on", "wilddash2", "--format", "json")
    (result,) = json.loads(done.out)
    result["scores"]["conventions"]["all19"] = result["scores"]["figures"]["pixel_accuracy"] = "NaN"
    nothing = Evaluation.model_validate(result)
    for grid in (several_grids([nothing])[0], evaluation_grids(nothing)[0]):
        (row,) = (row for row in grid.rows if row[0] == "all19")
        assert set(row[1:]) == {"-"}
        assert not re.search(r"\bnan\b", str(grid))


@pytest.mark.parametrize(
    ("on", "said"),
    [
        ("citiscapes", "no data set is called 'citiscapes'"),
        ("bdd100k:test", "bdd100k has no split 'test'"),
        ("potsdam", "potsdam has classes that cityscapes19 has not"),
        ("cityscapes,", "--on: an empty name"),
        ("", "--on: an empty name"),
        ("bdd100k,bdd100k", "--on: bdd100k twice"),
    ],
)
def test_what_cannot_be_scored_is_said_before_anything_is(weights, root, on, said):
    (root / "potsdam/img_dir/val").mkdir(parents=True)
    (root / "potsdam/ann_dir/val").mkdir(parents=True)
    arguments = ["--checkpoint", weights, "--scenario", "gta2cs", *SET, "--data-root", root]
    outcome = bench("eval", *arguments, "--on", on)
    assert said in refused(outcome)
    assert "scoring" not in outcome.out
