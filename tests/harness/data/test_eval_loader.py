"""The evaluation loader: every image once, whole, with what has its size."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from real_formats import save_png, street, write_cityscapes

from harness.data.datasets import open_dataset
from harness.data.eval_loader import eval_batches
from harness.errors import DataError


@pytest.fixture
def val(tmp_path):
    write_cityscapes(tmp_path, 0, 2)
    return open_dataset("cityscapes", tmp_path, "val")


@pytest.mark.parametrize("workers", [0, 1])
def test_evaluation_sees_every_image_whole_and_once(val, workers):
    seen = list(eval_batches(val, (32, 24), workers=workers))
    assert len(seen) == 2
    for i, (image, label) in enumerate(seen):
        assert image.shape == (1, 3, 24, 32)
        assert label.dtype == torch.int64
        np.testing.assert_array_equal(label[0].numpy(), street(i)[1])


@pytest.mark.parametrize("workers", [0, 1])
def test_images_of_one_size_in_a_row_are_batches(val, tmp_path, workers):
    pair = next(iter(val.samples))
    narrow = pair._replace(image=tmp_path / "narrow.png", label=tmp_path / "narrow_labelIds.png")
    for file, original in zip(narrow, pair, strict=True):
        pixels = cv2.imread(str(original), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(file), pixels[:, :-8])
    val.samples.insert(1, narrow)
    whole = list(eval_batches(val, (32, 24), 3, workers))
    assert [len(image) for image, _ in whole] == [1, 1, 1]
    del val.samples[1]
    [(image, label)] = eval_batches(val, (32, 24), 3, workers)
    for i, (one, its_label) in enumerate(eval_batches(val, (32, 24), workers=workers)):
        assert torch.equal(image[i : i + 1], one)
        assert torch.equal(label[i : i + 1], its_label)


def test_an_image_that_changes_its_size_stops_the_scoring(val):
    save_png(val.samples[0].image, np.zeros((48, 60, 3), np.uint8))
    with pytest.raises(DataError, match="expected one size"):
        list(eval_batches(val, (64, 48)))
