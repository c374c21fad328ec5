"""Windows, mirror images and scales against figures worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from real_formats import write_cityscapes
from torch import nn
from torch.nn import functional as F

from harness.config import catalogue
from harness.config.overrides import apply_overrides
from harness.data.datasets import open_dataset
from harness.data.eval_loader import at_scales, eval_batches
from harness.data.loader import normalise
from harness.errors import BenchError
from harness.evaluation.inference import (
    WHOLE,
    Views,
    class_scores,
    predicted,
    windows,
    within_memory,
)
from harness.evaluation.metrics import evaluate
from harness.evaluation.most_likely import most_likely
from methods import registry
from methods.contract import Segmentation
from methods.networks import zoo
from methods.parts.losses import upsample


class Toy(nn.Module):
    """A network of one function; remembers the sizes of what it was shown."""

    num_classes = 5

    def __init__(self, logits) -> None:
        super().__init__()
        self.logits = logits
        self.shown: list[tuple[int, ...]] = []

    def forward(self, image):
        self.shown.append(tuple(image.shape))
        logits = self.logits(image)
        return Segmentation(logits, [], logits)


def by_pixel(image):
    """A pixel's scores depend on its colour alone, wherever it lies."""
    return torch.cat([image, image[:, :2] * image[:, 1:] - 0.3], dim=1)


def window_mean(image):
    """The mean of all that it sees, at every pixel: what a window holds can be read off."""
    return image.mean((2, 3), keepdim=True)[:, :1].expand(-1, 1, *image.shape[2:])


def row(*values: float):
    return torch.tensor(values, dtype=torch.float32).view(1, 1, 1, -1).repeat(1, 3, 1, 1)


def slid(values, slide):
    image = row(*values)
    return class_scores(Toy(window_mean), [image], image.shape[-2:], Views(slide=slide)).flatten()


@pytest.mark.parametrize("views", [WHOLE, Views(flip=True), Views(slide=(8, 8, 4, 4))], ids=str)
def test_the_class_of_a_pixel_is_that_of_its_highest_score(views):
    torch.manual_seed(0)
    network = Toy(lambda image: F.avg_pool2d(by_pixel(image), 4))
    images = [torch.rand(2, 3, 24, 20)]
    scores = class_scores(network, images, (48, 40), views)
    assert torch.equal(predicted(network, images, (48, 40), views), most_likely(scores))


def test_scores_that_are_nan_are_no_prediction():
    """The arg max of NaN is the first class: road everywhere."""
    broken = Toy(lambda image: by_pixel(image) / 0 * 0)
    for views in (WHOLE, Views(flip=True), Views(slide=(4, 4, 2, 2))):
        with pytest.raises(BenchError, match="gives NaN for class scores"):
            class_scores(broken, [torch.rand(1, 3, 8, 8)], (8, 8), views)


def test_whole_images_give_what_they_always_gave():
    torch.manual_seed(0)
    network = zoo.build("test_mit").eval()
    image = torch.randn(2, 3, 40, 56)
    with torch.inference_mode():
        expected = upsample(upsample(network(image).logits.float(), (40, 56)), (80, 112))
        assert torch.equal(class_scores(network, [image], (80, 112)), expected)


def test_overlapping_windows_give_the_mean_of_their_logits():
    # Windows see 0 2 | 2 4 | 4 10, whose means are 1, 3, 7.
    assert slid((0, 2, 4, 10), (1, 2, 1, 1)).tolist() == [1, 2, 5, 7]


def test_the_last_window_ends_at_the_border():
    # Windows see 0 2 | 4 10 | 10 20, the last moved back by one.
    assert slid((0, 2, 4, 10, 20), (1, 2, 1, 2)).tolist() == [1, 1, 7, 11, 15]


def test_windows_of_a_cityscapes_image_are_those_of_the_literature():
    """1024x512 in 512x512 windows, a stride of 341 (two thirds): three of them."""
    corners = [
        (rows.start, columns.start) for rows, columns in windows((512, 1024), (512, 512, 341, 341))
    ]
    assert corners == [(0, 0), (0, 341), (0, 512)]
    assert len(list(windows((1024, 2048), (1024, 1024, 768, 768)))) == 3


@pytest.mark.parametrize("size", [(7, 9), (8, 8), (5, 20), (3, 3)])
@pytest.mark.parametrize("slide", [(8, 8, 8, 8), (5, 4, 3, 2), (1, 3, 1, 2)])
def test_windows_cover_every_pixel_and_stay_inside(size, slide):
    count = np.zeros(size, int)
    for rows, columns in windows(size, slide):
        assert count[rows, columns].shape == (min(slide[0], size[0]), min(slide[1], size[1]))
        count[rows, columns] += 1
    assert count.min() >= 1


@pytest.mark.parametrize("slide", [(8, 12, 8, 12), (100, 100, 1, 1)])
def test_one_window_is_the_whole_image(slide):
    torch.manual_seed(0)
    network = zoo.build("test_mit").eval()
    image = torch.randn(1, 3, 8, 12)
    with torch.inference_mode():
        whole = class_scores(network, [image], (16, 24))
        assert torch.equal(class_scores(network, [image], (16, 24), Views(slide=slide)), whole)


@pytest.mark.parametrize("slide", [(4, 4, 4, 4), (5, 7, 2, 3), (3, 11, 1, 10)])
def test_where_windows_lie_does_not_matter_to_a_network_of_pixels(slide):
    image = torch.randn(2, 3, 9, 13)
    network = Toy(by_pixel)
    probabilities = class_scores(network, [image], (9, 13), Views(slide=slide))
    torch.testing.assert_close(probabilities, by_pixel(image))
    assert len(network.shown) == len(list(windows((9, 13), slide))) > 1
    # One window of the whole batch at a time.
    assert set(network.shown) == {(2, 3, slide[0], slide[1])}


def test_the_mirror_image_adds_nothing_for_an_equivariant_network():
    image = torch.randn(2, 3, 6, 10)
    probabilities = class_scores(Toy(by_pixel), [image], (12, 20), Views(flip=True))
    expected = upsample(by_pixel(image), (12, 20)).softmax(1)
    torch.testing.assert_close(probabilities, expected)


def test_the_mirror_image_is_mirrored_back_and_probabilities_are_averaged():
    def leaning(image):
        """Two classes: the first gains to the right, whatever the image shows."""
        ramp = torch.tensor([-2.0, 0.0, 3.0]).expand(len(image), 1, 1, 3)
        return torch.cat([ramp, torch.zeros_like(ramp)], dim=1)

    probabilities = class_scores(Toy(leaning), [row(1, 2, 3)], (1, 3), Views(flip=True))
    p = 1 / (1 + np.exp([2.0, 0.0, -3.0]))
    np.testing.assert_allclose(probabilities[0, 0, 0], (p + p[::-1]) / 2, rtol=1e-6)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-6)


def test_scales_are_resized_each_before_the_softmax_and_averaged():
    small, large = torch.randn(1, 3, 4, 6), torch.randn(1, 3, 8, 12)
    views = Views(scales=(0.5, 1))
    probabilities = class_scores(Toy(by_pixel), [small, large], (8, 12), views)
    first, second = upsample(by_pixel(small), (8, 12)).softmax(1), by_pixel(large).softmax(1)
    torch.testing.assert_close(probabilities, (first + second) / 2)


def test_all_of_it_together():
    small, large = torch.randn(1, 3, 4, 6), torch.randn(1, 3, 8, 12)
    views = Views(slide=(4, 6, 2, 3), flip=True, scales=(0.5, 1))
    network = Toy(by_pixel)
    probabilities = class_scores(network, [small, large], (8, 12), views)
    alone = class_scores(Toy(by_pixel), [small, large], (8, 12), Views(scales=(0.5, 1)))
    torch.testing.assert_close(probabilities, alone)
    assert len(network.shown) == 2 * (1 + 3 * 3)


def test_evaluation_takes_the_views():
    """The lower half is right only where windows are."""
    image = torch.zeros(1, 3, 4, 4)
    image[:, :, 2:] = 1
    label = image[:, 0].long()

    def brightness(image):
        mean = window_mean(image)
        return torch.cat([0.5 - mean, mean - 0.5, torch.full_like(mean, -9.0)], dim=1)

    def right(views):
        return np.diag(evaluate(Toy(brightness), [(image, label)], views=views)).sum()

    assert right(WHOLE) == 8
    assert right(Views(slide=(2, 4, 2, 4))) == 16


def test_the_loader_resizes_each_scale_from_the_files_own_pixels(tmp_path):
    write_cityscapes(tmp_path, 0, 1)
    val = open_dataset("cityscapes", tmp_path, "val")
    small, same, large, label = next(eval_batches(val, (32, 24), scales=(0.5, 1, 2)))
    assert [tuple(t.shape[-2:]) for t in (small, same, large, label)] == [
        (12, 16), (24, 32), (48, 64), (48, 64),
    ]  # fmt: skip

    def read(size):
        return normalise(torch.from_numpy(val.read_image(0, size)).permute(2, 0, 1)[None])

    for image, size in ((small, (16, 12)), (same, (32, 24)), (large, (64, 48))):
        assert torch.equal(image, read(size))
    image, _ = next(eval_batches(val, (32, 24)))
    assert torch.equal(image, read((32, 24)))


def test_without_a_size_scales_are_of_the_image_itself():
    image = np.zeros((20, 30, 3), np.uint8)
    shapes = [tuple(t.shape) for t in at_scales(image, None, (0.5, 1, 1.5))]
    assert shapes == [(3, 10, 15), (3, 20, 30), (3, 30, 45)]


def test_what_does_not_fit_into_the_gpu_says_what_would():
    with pytest.raises(BenchError, match=r"Try windows\."), within_memory("windows"):
        raise torch.OutOfMemoryError


def changed(*overrides: str):
    config = registry.load("source_only").Config
    tiny, scenario = catalogue.profile("tiny"), catalogue.scenario("gta2cs")
    return Views.of(apply_overrides(overrides, tiny, scenario, config, {})[0])


def test_a_profile_says_the_views():
    assert changed() == WHOLE
    assert changed("slide=64,96,32,48").slide == (64, 96, 32, 48)
    assert changed("slide=[64,96,32,48]", "slide=null") == WHOLE
    assert changed("tta_flip=true", "tta_scales=0.75,1,1.25") == Views(
        flip=True, scales=(0.75, 1, 1.25)
    )
    assert changed("tta_scales=2").scales == (2,)


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("slide=64,96,65,48", "leaves gaps"),
        ("slide=64,96,0,48", "greater than or equal to 1"),
        ("slide=64,96", "slide"),
        ("tta_scales=[]", "at least 1"),
        ("tta_scales=0,1", "greater than 0"),
    ],
)
def test_views_that_make_no_sense_are_refused(override, reason):
    with pytest.raises(BenchError, match=reason):
        changed(override)


def test_how_a_run_is_scored_renames_the_run_but_not_its_weights():
    from fake_records import fake_record

    spec = fake_record().spec
    profile = spec.profile.model_copy(
        update={"slide": (8, 8, 4, 4), "tta_flip": True, "tta_scales": (1.0, 2.0)}
    )
    other = spec.model_copy(update={"profile": profile})
    assert other.run_id != spec.run_id
    assert other.weights_id == spec.weights_id
