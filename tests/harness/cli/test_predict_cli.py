"""`bench predict`: PNG files of what a checkpoint sees, and Cityscapes' own script on them."""

from __future__ import annotations

import importlib
import os
import shutil

import numpy as np
import pytest
import torch
from bench_cli import bench, refused
from cityscapes import CITYSCAPES, CITYSCAPES_IDS, CLASSES, colourise
from fake_records import fake_record
from PIL import Image

from harness.data.datasets import open_dataset
from harness.data.eval_loader import at_scales, eval_batches
from harness.data.images import read_upright
from harness.data.loader import normalise
from harness.data.scenes import write_dataset
from harness.evaluation.inference import Views, class_scores
from harness.evaluation.metrics import confusion, evaluate, iou
from harness.measure.allocator import WITHOUT_TRAINING
from harness.report.figures import CAPTION, GAP
from harness.training.precision import autocast
from harness.weights.predict import write_prediction
from methods.networks import zoo
from methods.networks.weights import load_weights, save_weights


def network():
    """Random weights, but far enough from one another that several classes are seen."""
    torch.manual_seed(3)
    made = zoo.build("test_mit").eval()
    with torch.no_grad():
        for parameter in made.head.parameters():
            parameter.mul_(8)
    return made


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "own.safetensors"
    save_weights(network(), path, {"network": "test_mit"})
    return path


@pytest.fixture
def picture(tmp_path):
    """A photograph by its size and noise: 50 x 34 pixels."""
    pixels = np.random.default_rng(0).integers(0, 255, (34, 50, 3), np.uint8)
    path = tmp_path / "in" / "street.png"
    path.parent.mkdir()
    Image.fromarray(pixels).save(path)
    return path


def predicted(path, size=None, views=None):
    image = read_upright(path)
    views = views or Views()
    inputs = [normalise(view[None]) for view in at_scales(image, size, views.scales)]
    with torch.inference_mode():
        return class_scores(network(), inputs, image.shape[:2], views).argmax(1)[0].numpy()


def run(images, weights, out, *options):
    places = [images] if not isinstance(images, list) else images
    return bench("predict", *places, "--checkpoint", weights, "--out", out, *options)


def test_every_kind_says_the_same(picture, weights, tmp_path):
    expected = predicted(picture)
    assert len(np.unique(expected)) > 3
    ids = np.zeros(19, int)
    for label_id, train_id in CITYSCAPES_IDS.items():
        ids[train_id] = label_id
    for kind in ("palette", "overlay", "labelids", "trainids"):
        outcome = run(picture, weights, tmp_path / kind, "--as", kind)
        assert outcome.code == 0, outcome.err
        assert "1 images" in outcome.out
    palette = Image.open(tmp_path / "palette" / "street_palette.png")
    assert palette.mode == "P"
    np.testing.assert_array_equal(np.array(palette), expected)
    np.testing.assert_array_equal(np.array(palette.convert("RGB")), colourise(expected))
    label_ids = Image.open(tmp_path / "labelids" / "street_labelIds.png")
    assert label_ids.mode == "L"
    np.testing.assert_array_equal(np.array(label_ids), ids[expected])
    train_ids = Image.open(tmp_path / "trainids" / "street_trainIds.png")
    np.testing.assert_array_equal(np.array(train_ids), expected)
    overlay = np.array(Image.open(tmp_path / "overlay" / "street_overlay.png")).astype(float)
    mean = (read_upright(picture).astype(float) + colourise(expected)) / 2
    assert np.abs(overlay - mean).max() <= 0.5


def test_freed_blocks_are_kept_as_in_a_run(picture, weights, tmp_path, monkeypatch):
    """The maps of one image serve the next; the system would zero them again."""
    asked = []
    monkeypatch.setattr("harness.weights.predict.keep_freed_blocks", asked.append)
    assert run(picture, weights, tmp_path / "out").code == 0
    assert asked == [WITHOUT_TRAINING]


def test_the_network_sees_the_size_asked_for_and_the_file_has_the_images_own(
    picture, weights, tmp_path
):
    outcome = run(
        picture, weights, tmp_path / "out", "--as", "trainids", "--size", "100x80", "--flip",
        "--scales", "0.5,1", "--slide", "32,40,16,20",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    labels = np.array(Image.open(tmp_path / "out" / "street_trainIds.png"))
    views = Views(slide=(32, 40, 16, 20), flip=True, scales=(0.5, 1))
    np.testing.assert_array_equal(labels, predicted(picture, (100, 80), views))
    assert (labels != predicted(picture)).any()


@pytest.fixture
def float32_as_before():
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    yield
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]


@pytest.mark.usefixtures("float32_as_before")
@pytest.mark.parametrize(("precision", "tf32"), [("fp32", False), ("fp32", True), ("bf16", False)])
def test_a_run_predicts_in_its_own_precision(picture, tmp_path, monkeypatch, precision, tf32):
    record = fake_record()
    profile = record.spec.profile.model_copy(update={"precision": precision, "tf32": tf32})
    record.spec = record.spec.model_copy(update={"profile": profile})
    folder = tmp_path / "run"
    folder.mkdir()
    save_weights(network(), folder / "student.safetensors", {"network": "test_mit"})
    (folder / "run.json").write_text(record.model_dump_json())
    used = []

    def recorded(device, precision):
        used.append((precision, torch.backends.cudnn.allow_tf32))
        return autocast(device, precision)

    monkeypatch.setattr("harness.weights.predict.autocast", recorded)
    outcome = run(picture, folder, tmp_path / "out")
    assert outcome.code == 0, outcome.err
    assert set(used) == {(precision, tf32)}


def test_the_narrowest_images_are_predicted(picture, weights, tmp_path):
    sizes = {"700x1": (700, 1), "1x300": (1, 300), "1x1": (1, 1)}
    for name, size in sizes.items():
        Image.new("RGB", size).save(picture.parent / f"{name}.png")
    outcome = run(picture.parent, weights, tmp_path / "out", "--size", "96x48", "--as", "trainids")
    assert outcome.code == 0, outcome.err
    for name, size in {**sizes, "street": (50, 34)}.items():
        with Image.open(tmp_path / "out" / f"{name}_trainIds.png") as written:
            assert written.size == size


def test_folders_are_searched_and_kept(picture, weights, tmp_path):
    deep = picture.parent / "day" / "a"
    deep.mkdir(parents=True)
    Image.open(picture).convert("L").save(deep / "grey.jpg")
    (picture.parent / "notes.txt").write_text("no image")
    for _ in range(2):  # what the first call writes below the folder is no image of the second
        outcome = run(picture.parent, weights, picture.parent / "out")
        assert "2 images" in outcome.out
    written = sorted(p for p in (picture.parent / "out").rglob("*") if p.is_file())
    names = [p.relative_to(picture.parent / "out").as_posix() for p in written]
    assert names == ["day/a/grey_palette.png", "legend.png", "street_palette.png"]


def test_an_image_that_cannot_be_read_costs_no_other_its_prediction(picture, weights, tmp_path):
    out, content = tmp_path / "out", picture.read_bytes()
    (picture.parent / "a_broken.png").write_bytes(content[: len(content) // 2])
    (picture.parent / "z_whole.png").write_bytes(content)
    said = refused(run(picture.parent, weights, out))
    assert "1 of 3 images not read, the others are predicted: " in said
    assert "a_broken.png" in said
    assert {p.name for p in out.iterdir()} >= {"street_palette.png", "z_whole_palette.png"}


def test_bad_input_is_refused_in_one_line_and_what_was_written_stays(picture, weights, tmp_path):
    out = tmp_path / "out"
    before = picture.read_bytes()
    broken = picture.with_name("z_broken.png")
    broken.write_bytes(before[: len(before) // 2])
    assert "z_broken.png" in refused(run(picture.parent, weights, out))
    assert [p.name for p in out.iterdir()] == ["street_palette.png"]
    assert Image.open(out / "street_palette.png").size == (50, 34)
    broken.write_text("words")
    assert "cannot identify image file" in refused(run(broken, weights, out))
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no image found" in refused(run(empty, weights, out))
    assert "no such file" in refused(run(tmp_path / "gone.png", weights, out))
    assert "is a file" in refused(run(picture, weights, picture))
    assert "expected WIDTHxHEIGHT" in refused(run(picture, weights, out, "--size", "100"))
    assert "leaves gaps" in refused(run(picture, weights, out, "--slide", "8,8,9,9"))
    assert "--scales" in refused(run(picture, weights, out, "--scales", "none"))
    assert "no such file or run" in refused(run(picture, tmp_path / "no.pth", out))
    torch.save(network().state_dict(), tmp_path / "nameless.pth")
    assert "--student" in refused(run(picture, tmp_path / "nameless.pth", out))
    named = run(picture, tmp_path / "nameless.pth", out, "--student", "test_mit")
    assert named.code == 0, named.err
    assert picture.read_bytes() == before


def test_no_image_is_written_over(picture, weights):
    """Neither in place of an input, nor two into one file."""
    folder = picture.parent
    own = folder / "street_palette.png"
    Image.new("RGB", (8, 8)).save(own)
    before = own.read_bytes()
    for images in (folder, picture):
        assert "is the folder of the images" in refused(run(images, weights, folder))
    assert own.read_bytes() == before
    own.unlink()
    Image.open(picture).save(folder / "street.jpg")
    assert "would both be written" in refused(run(folder, weights, folder / "out"))
    assert not (folder / "out").exists()


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    label, image = np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.uint8)
    path = tmp_path / "x.png"
    write_prediction(path, label, "trainids", CITYSCAPES, image)
    before = path.read_bytes()

    def full(self, file, **_):
        file.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match="no space"):
        write_prediction(path, label + 1, "trainids", CITYSCAPES, image)
    assert [p.name for p in tmp_path.iterdir()] == ["x.png"]
    assert path.read_bytes() == before


@pytest.fixture(scope="module")
def streets(tmp_path_factory):
    root = tmp_path_factory.mktemp("streets")
    write_dataset("cityscapes", {"val": 4}, root, size=(96, 48))
    return root


def by_the_official_script(streets, results, monkeypatch) -> list[float]:
    """Class IoUs in percent, in the order of our classes, of files that it finds for itself."""
    name = "cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling"
    script = importlib.import_module(name)
    settings = {
        "predictionPath": str(results),
        "predictionWalk": None,
        "evalInstLevelScore": False,
        "JSONOutput": False,
        "quiet": True,
    }
    for name, value in settings.items():
        monkeypatch.setattr(script.args, name, value)
    labels = sorted(map(str, (streets / "cityscapes/gtFine/val").glob("*/*_gtFine_labelIds.png")))
    assert len(labels) == 4
    files = [script.getPrediction(script.args, label) for label in labels]
    ious = script.evaluateImgLists(files, labels, script.args)["classScores"]
    return [100 * ious[name] for name in CLASSES]


def test_cityscapes_script_gives_our_files_the_ious_that_we_give(
    streets, weights, tmp_path, monkeypatch
):
    """Of a whole data set's folder: labels in it are no images."""
    outcome = run(streets, weights, tmp_path, "--as", "labelids", "--size", "72x36")
    assert outcome.code == 0, outcome.err
    assert "4 images" in outcome.out
    official = by_the_official_script(streets, tmp_path, monkeypatch)
    val = open_dataset("cityscapes", streets, "val")
    made = network()
    load_weights(made, weights)
    ours = iou(evaluate(made, eval_batches(val, (72, 36))))
    np.testing.assert_allclose(official, ours, rtol=1e-12)


def test_the_same_of_predictions_that_are_mostly_right(streets, tmp_path, monkeypatch):
    """Labels with a third of the pixels drawn anew, so that every IoU is a figure of its own."""
    val = open_dataset("cityscapes", streets, "val")
    rng = np.random.default_rng(0)
    total = 0
    for index, sample in enumerate(val.samples):
        label = val.read_label(index)
        wrong = rng.integers(0, 19, label.shape, np.uint8)
        prediction = np.where((rng.random(label.shape) < 0.3) | (label == 255), wrong, label)
        name = sample.label.name.replace("_gtFine_", "_")
        nothing = np.empty(0, np.uint8)
        write_prediction(tmp_path / name, prediction, "labelids", CITYSCAPES, nothing)
        total += confusion(torch.from_numpy(prediction), torch.from_numpy(label), 19).numpy()
    official = by_the_official_script(streets, tmp_path, monkeypatch)
    np.testing.assert_allclose(official, iou(total), rtol=1e-12)
    assert np.nanmax(official) > 50
    assert len({round(value, 3) for value in official if value > 0}) > 10


def test_every_photograph_of_a_folder_is_read_and_the_rest_is_named(picture, weights, tmp_path):
    """One image by Cityscapes' name hides no other, links are entered, labels left out."""
    folder = picture.parent
    for name in ("x_leftImg8bit.png", "UPPER.PNG", "x_labelIds.png", "street_color.png", "._a.png"):
        shutil.copy(picture, folder / name)
    for name in ("images/a.png", "labels/a.png"):
        (folder / name).parent.mkdir()
        shutil.copy(picture, folder / name)
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(picture, tmp_path / "elsewhere/night.png")
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "self.png").symlink_to("self.png")
    os.mkfifo(folder / "pipe.png")
    out = tmp_path / "out"
    outcome = run(folder, weights, out)
    assert outcome.code == 0, outcome.err
    written = sorted(p.relative_to(out).as_posix() for p in out.rglob("*_palette.png"))
    names = ("UPPER", "images/a", "linked/night", "street", "x")
    assert written == [f"{name}_palette.png" for name in names]
    text = " ".join(outcome.out.split())
    assert "left out: 1 hidden (._a.png); 2 no files but broken links or devices" in text
    assert "3 labels, or made from images beside them" in text


def test_image_prediction_and_truth_are_side_by_side(picture, weights, tmp_path):
    labels = tmp_path / "labels"
    labels.mkdir()
    Image.new("L", (50, 34), 23).save(labels / "street_labelIds.png")  # sky
    for other in ("street_2_labelIds.png", "street_color.png", "street_labelTrainIds.png"):
        Image.new("L", (50, 34), 7).save(labels / other)  # of another image, or no label ids
    out = tmp_path / "out"
    for arguments, panels in (([], 2), (["--truth", labels], 3)):
        outcome = run(picture, weights, out, "--as", "side", *arguments)
        assert outcome.code == 0, outcome.err
        sheet = np.asarray(Image.open(out / "street_side.png"))
        shown = [
            sheet[CAPTION : CAPTION + 34, GAP + i * (50 + GAP) : GAP + i * (50 + GAP) + 50]
            for i in range(panels)
        ]
        assert (shown[0] == read_upright(picture)).all()
        assert (shown[1] == colourise(predicted(picture))).all()
    assert (shown[2] == CITYSCAPES.palette[CITYSCAPES.names.index("sky")]).all()
    assert "--as side" in refused(run(picture, weights, out, "--truth", labels))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    Image.new("L", (50, 34), 7).save(elsewhere / "street_2_labelIds.png")
    assert "no label of any image" in refused(
        run(picture, weights, out, "--as", "side", "--truth", elsewhere)
    )


def test_a_legend_lies_beside_what_is_coloured(picture, weights, tmp_path):
    run(picture, weights, tmp_path / "ids", "--as", "labelids")
    assert not (tmp_path / "ids" / "legend.png").exists()
    run(picture, weights, tmp_path / "overlay", "--as", "overlay")
    colours = Image.open(tmp_path / "overlay" / "legend.png").getcolors(10**6)
    assert {tuple(colour) for colour in CITYSCAPES.palette} <= {colour for _, colour in colours}
