"""Resize and crop as in the reference; augmentation bounded, seeded and quick."""

from __future__ import annotations

import numpy as np
import pytest

from harness.data import transforms
from harness.data.augment import augment
from harness.data.loader import normalise

CROP = (48, 48)


class LegacyDraws:
    """numpy's old global generator, which the reference draws from, in the new one's words."""

    def __init__(self, seed: int) -> None:
        self.integers = np.random.RandomState(seed).randint
        self.state = self.integers.__self__
        self.random = self.state.rand


@pytest.fixture
def pipeline(golden):
    return np.load(golden / "m_pipeline.npz")


def test_sizes_as_in_the_reference(pipeline):
    for size, bound, out in zip(
        pipeline["rescale_src_wh"],
        pipeline["rescale_bound_wh"],
        pipeline["rescale_out_wh"],
        strict=True,
    ):
        assert transforms.fit_size(tuple(size), tuple(bound)) == tuple(out)


@pytest.mark.parametrize(("size", "fitted"), [((2000, 1), (192, 1)), ((1, 900), (1, 192))])
def test_the_narrowest_image_keeps_a_pixel(size, fitted):
    assert transforms.fit_size(size, (192, 96)) == fitted
    image = transforms.resize_image(np.zeros((*size[::-1], 3), np.uint8), (192, 96))
    assert image.shape == (*fitted[::-1], 3)


def test_resize_as_in_the_reference(pipeline):
    image = transforms.resize_image(pipeline["bgr"], (128, 72))
    np.testing.assert_allclose(image.astype(int), pipeline["resized_bgr"].astype(int), atol=1)
    label = transforms.resize_label(pipeline["seg"], (128, 72))
    np.testing.assert_array_equal(label, pipeline["resized_seg"])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_crop_flip_and_normalise_as_in_the_reference(pipeline, seed):
    import torch

    rng = LegacyDraws(seed)
    label = pipeline["resized_seg"]
    corner = transforms.draw_balanced_corner(label, CROP, rng, 0.75)
    flipped = rng.random() < 0.5
    image = transforms.crop(pipeline["resized_bgr"][..., ::-1], corner, CROP)
    label = transforms.crop(label, corner, CROP)
    if flipped:
        image, label = transforms.flip(image), transforms.flip(label)
    assert flipped == pipeline[f"pipe{seed}_flip"]
    np.testing.assert_array_equal(label, pipeline[f"pipe{seed}_seg"][0])
    out = normalise(torch.from_numpy(image.transpose(2, 0, 1).copy()))
    np.testing.assert_allclose(out.numpy(), pipeline[f"pipe{seed}_img"], atol=1e-5)


def test_a_crop_of_mostly_one_class_is_drawn_again():
    label = np.zeros((40, 400), np.uint8)
    label[:, 320:] = np.arange(80) % 2  # the only part that is not all road
    label[:20, 320:] = 255  # ignored pixels do not count
    shares = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        corner = transforms.draw_balanced_corner(label, (40, 40), rng, 0.75)
        counts = transforms.class_counts(transforms.crop(label, corner, (40, 40)), 19)[:19]
        shares.append(counts.max() / counts.sum())
    # One draw is right with a chance of about 0.2, one of eleven with about 0.9.
    assert np.mean(np.array(shares) < 0.75) > 0.7
    plain = [
        transforms.draw_balanced_corner(label, (40, 40), np.random.default_rng(s), 1.0)
        for s in range(40)
    ]
    assert plain == [
        transforms.draw_corner((40, 400), (40, 40), np.random.default_rng(s)) for s in range(40)
    ]


def test_a_crop_without_the_rare_class_is_drawn_again():
    label = (np.indices((40, 400)).sum(0) % 2).astype(np.uint8)
    label[10:20, 350:360] = 17
    held = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        corner = transforms.draw_rare_corner(label, (40, 40), rng, 0.75, 17, min_pixels=50)
        held += (transforms.crop(label, corner, (40, 40)) == 17).sum() > 50
    assert held > 20  # by chance 4 of 40


def test_class_counts_add_up():
    label = np.array([[0, 0, 18, 255, 19]], np.uint8)
    counts = transforms.class_counts(label, 19)
    assert (counts[0], counts[18], counts[19], counts.sum()) == (2, 1, 2, 5)


def test_padding_is_below_and_to_the_right():
    image = transforms.pad_image(np.zeros((2, 3, 3), np.uint8), (4, 5))
    label = transforms.pad_label(np.zeros((2, 3), np.uint8), (4, 5))
    assert (label == 0).sum() == 6
    assert (label[:2, :3] == 0).all()
    assert image[3, 4].tolist() == list(transforms.MEAN_GREY)
    assert np.abs(np.array(transforms.MEAN_GREY) - (123.675, 116.28, 103.53)).max() < 0.5
    whole = np.zeros((4, 5), np.uint8)
    assert transforms.pad_label(whole, (4, 5)) is whole


@pytest.mark.parametrize("kind", ["photometric", "strong"])
def test_augmentation_is_seeded_and_keeps_the_form(kind):
    image = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    seen = set()
    for seed in range(30):
        out = augment(image.copy(), kind, np.random.default_rng(seed))
        assert out.shape == image.shape
        assert out.dtype == np.uint8
        again = augment(image.copy(), kind, np.random.default_rng(seed))
        np.testing.assert_array_equal(out, again)
        seen.add(out.tobytes())
    assert len(seen) > 20


def test_augmentation_none_is_none():
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    np.testing.assert_array_equal(augment(image, "none", np.random.default_rng(0)), image)


def test_photometric_stays_in_its_bounds():
    """A grey has no hue or saturation: contrast and brightness alone, 0.5..1.5 and +-32."""
    grey = np.full((4, 4, 3), 100, np.uint8)
    rng = np.random.default_rng(0)
    values = [int(augment(grey, "photometric", rng)[0, 0, 0]) for _ in range(1000)]
    assert min(values) >= (100 - 32) * 0.5 - 1
    assert max(values) <= (100 + 32) * 1.5 + 1
    assert 0.2 < np.mean(np.array(values) == 100) < 0.3  # neither drawn: a quarter


def test_photometric_turns_the_hue():
    red = np.zeros((2, 2, 3), np.uint8)
    red[..., 0] = 200
    rng = np.random.default_rng(0)
    outs = [augment(red, "photometric", rng)[0, 0].astype(int) for _ in range(60)]
    assert any(green > blue + 20 for _, green, blue in outs)
    assert any(blue > green + 20 for _, green, blue in outs)
    assert all(out[0] == out.max() for out in outs)  # 36 degrees never leave red's sector
