"""Class statistics and rare class sampling: the reference's figures, and any subset."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest
from cityscapes import CLASSES
from real_formats import files_below, street, write_gta5

from harness.data.datasets import open_dataset
from harness.data.rare_class import (
    ClassStatistics,
    RareClassSampler,
    cache_dir,
    class_probabilities,
    class_statistics,
)
from harness.errors import DataError


@pytest.fixture
def reference(golden):
    """The reference's 40 fictitious images as our statistics, and its figures."""
    rows = json.loads((golden / "e_sample_class_stats.json").read_text())
    counts = np.zeros((len(rows), 20), np.int64)
    for i, row in enumerate(rows):
        for train_id in range(19):
            counts[i, train_id] = row.get(str(train_id), 0)
    return ClassStatistics(counts, CLASSES), np.load(golden / "e_rcs.npz")


@pytest.mark.parametrize("temperature", [0.01, 0.1, 1.0, float("inf")])
def test_probabilities_as_in_the_reference(reference, temperature):
    statistics, vectors = reference
    expected = np.zeros(19)
    expected[vectors[f"classes_T{temperature}"]] = vectors[f"probs_T{temperature}"]
    probabilities = class_probabilities(statistics, temperature)
    np.testing.assert_allclose(probabilities, expected, rtol=2e-4, atol=1e-9)
    assert probabilities.sum() == pytest.approx(1)


def test_candidates_as_in_the_reference(reference):
    statistics, vectors = reference
    sizes = [statistics.eligible(c, 3000).size for c in range(19)]
    assert sizes == vectors["n_candidates_gt3000_cls0to18"].tolist()


def test_a_class_that_no_image_holds_enough_of_is_never_drawn(reference, caplog):
    statistics, _ = reference
    with caplog.at_level(logging.WARNING):
        sampler = RareClassSampler(statistics, 0.01, 3000)
    expected = class_probabilities(statistics, 0.01)
    expected[[7, 12, 16, 17, 18]] = 0  # no candidates
    np.testing.assert_allclose(sampler.probabilities, expected / expected.sum())
    assert len(caplog.records) == 1
    assert "traffic sign, rider, train, motorcycle, bicycle" in caplog.text
    rng = np.random.default_rng(0)
    for _ in range(200):
        train_id, image = sampler.draw(rng)
        assert statistics.counts[image, train_id] > 3000


def test_draws_follow_the_probabilities():
    counts = np.zeros((4, 20), np.int64)
    counts[:, 0], counts[1, 11], counts[2, 11] = 900, 100, 100
    sampler = RareClassSampler(ClassStatistics(counts, CLASSES), 1.0, 50)
    rng = np.random.default_rng(0)
    draws = [sampler.draw(rng) for _ in range(2000)]
    assert {image for train_id, image in draws if train_id == 11} == {1, 2}
    assert {image for train_id, image in draws if train_id == 0} == {0, 1, 2, 3}
    share = np.mean([train_id == 11 for train_id, _ in draws])
    assert share == pytest.approx(sampler.probabilities[11], abs=0.05)


def test_no_class_at_all_is_an_error():
    counts = np.zeros((2, 20), np.int64)
    counts[:, 0] = 100
    with pytest.raises(DataError, match="more than 3000 pixels of any class; lower rcs_min_pixels"):
        class_probabilities(ClassStatistics(counts, CLASSES), 0.01, 3000)


def test_counting_is_at_full_resolution_and_cached_outside_the_data(tmp_path):
    write_gta5(tmp_path, 4)
    before = files_below(tmp_path)
    dataset = open_dataset("gta5", tmp_path, "train")
    seen = []
    statistics = class_statistics(dataset, lambda done, of: seen.append((done, of)))
    assert seen[-1] == (4, 4)
    for i in range(4):
        label = street(i)[1]
        expected = [(label == c).sum() for c in range(19)] + [(label == 255).sum()]
        assert statistics.counts[i].tolist() == expected
    assert files_below(tmp_path) == before
    assert [p.stem for p in (cache_dir() / "class_stats").iterdir()] == [dataset.fingerprint()]
    again = class_statistics(dataset, lambda done, of: pytest.fail("counted twice"))
    np.testing.assert_array_equal(again.counts, statistics.counts)


def test_a_subset_has_statistics_of_its_own(tmp_path):
    folder = write_gta5(tmp_path, 4)
    whole = class_statistics(open_dataset("gta5", tmp_path, "train"))
    (folder / "images" / "00004.png").unlink()  # the only one with a bicycle
    part = class_statistics(open_dataset("gta5", tmp_path, "train"))
    np.testing.assert_array_equal(part.counts, whole.counts[:3])
    assert class_probabilities(whole, 0.01)[18] > 0
    assert class_probabilities(part, 0.01)[18] == 0


def test_a_broken_cache_file_is_counted_again(tmp_path):
    write_gta5(tmp_path, 2)
    dataset = open_dataset("gta5", tmp_path, "train")
    statistics = class_statistics(dataset)
    (cached,) = (cache_dir() / "class_stats").iterdir()
    cached.write_text(json.dumps({"counts": [[1, 2]]}))
    np.testing.assert_array_equal(class_statistics(dataset).counts, statistics.counts)
    cached.write_text("{")
    np.testing.assert_array_equal(class_statistics(dataset).counts, statistics.counts)


def test_statistics_that_cannot_be_kept_are_counted_all_the_same(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("UDA_BENCH_CACHE", "/dev/null/cache")
    write_gta5(tmp_path, 2)
    counted = class_statistics(open_dataset("gta5", tmp_path, "train"))
    assert counted.pixels.sum() > 0
    assert "are not kept" in caplog.text
