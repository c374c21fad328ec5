"""The loader's order, its resume, and what a batch holds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from real_formats import save_png, write_camvid, write_cityscapes, write_gta5, write_synthia

from harness.data.datasets import Dataset, open_dataset
from harness.data.eval_loader import eval_batches
from harness.data.loader import TrainLoader, grey_levels, normalise
from harness.errors import DataError
from methods import registry
from methods.networks import zoo

STEPS = 6


@pytest.fixture
def source(tmp_path):
    write_gta5(tmp_path, 5)
    return open_dataset("gta5", tmp_path, "train")


@pytest.fixture
def target(tmp_path):
    write_cityscapes(tmp_path, 3, 2)
    return open_dataset("cityscapes", tmp_path, "train")


def batches(source, target, profile, seed=0, *, steps=STEPS, **options):
    return list(TrainLoader(source, target, profile, seed, steps=steps, **options))


def same(a, b) -> bool:
    """Whether two lists of batches are equal bit by bit."""
    return len(a) == len(b) and all(
        (x is None and y is None) or torch.equal(x, y)
        for one, other in zip(a, b, strict=True)
        for x, y in zip(vars(one).values(), vars(other).values(), strict=True)
    )


def test_a_batch_is_what_the_contract_says(source, target, profile):
    (batch, *_) = batches(source, target, profile, target_labels=True)
    assert batch.source_image.shape == batch.target_image.shape == (2, 3, 24, 32)
    assert batch.source_image.dtype == torch.float32
    assert batch.source_label.shape == batch.target_label.shape == (2, 24, 32)
    assert batch.source_label.dtype == batch.target_label.dtype == torch.int64
    assert set(batch.source_label.unique().tolist()) <= {0, 2, 10, 11, 13, 18, 255}


@pytest.mark.parametrize("writer", [write_gta5, write_synthia])
@pytest.mark.parametrize("rare", [True, False])
def test_images_and_labels_are_cropped_and_flipped_alike(tmp_path, target, profile, writer, rare):
    """Red is the label's train id: one crop or flip of its own would break that."""
    name = writer(tmp_path, 5).name
    source = open_dataset(name, tmp_path, "train")
    profile = profile.model_copy(update={"rare_class_sampling": rare})
    flipped = set()
    for batch in batches(source, target, profile, target_labels=True):
        for image, label in (
            (batch.source_image, batch.source_label),
            (batch.target_image, batch.target_label),
        ):
            levels = grey_levels(image)
            assert torch.equal(levels[:, 0].long(), label)
            step = levels[:, 1, 0, 1].int() - levels[:, 1, 0, 0].int()  # green is the column
            flipped |= set(step.tolist())
    assert flipped == {1, -1}


@pytest.mark.parametrize(("chance", "step"), [(0.0, 1), (1.0, -1)])
def test_the_flip_follows_its_chance(source, target, profile, chance, step):
    profile = profile.model_copy(update={"flip": chance})
    for batch in batches(source, target, profile):
        for image in (batch.source_image, batch.target_image):
            green = grey_levels(image)[:, 1, 0].int()
            assert (green[:, 1] - green[:, 0]).tolist() == [step, step]


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a machine of two cores
@pytest.mark.parametrize("workers", [1, 3])
def test_the_order_is_the_same_for_any_number_of_workers(source, target, profile, workers):
    profile = profile.model_copy(update={"source_augmentation": "strong"})
    alone = batches(source, target, profile)
    assert same(alone, batches(source, target, profile.model_copy(update={"workers": workers})))


def test_any_step_resumes_exactly(source, target, profile):
    whole = batches(source, target, profile, target_labels=True)
    tail = batches(source, target, profile, target_labels=True, start_step=4)
    assert same(whole[4:], tail)


def test_processes_that_train_together_share_out_the_same_samples(
    monkeypatch, source, target, profile
):
    alone = batches(source, target, profile)
    scored = [label for _, label in eval_batches(target, (32, 24))]
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    for rank in (0, 1):
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        own = batches(source, target, profile)
        assert len(own) == len(alone)
        for one, other in zip(own, alone, strict=True):
            assert torch.equal(one.source_image, other.source_image[rank::2])
            assert torch.equal(one.target_image, other.target_image[rank::2])
        labels = [label for _, label in eval_batches(target, (32, 24))]
        assert len(labels) == len(scored[rank::2])
        assert all(map(torch.equal, labels, scored[rank::2]))


def test_seeds_differ_and_repeat(source, target, profile):
    first = batches(source, target, profile, seed=1)
    assert same(first, batches(source, target, profile, seed=1))
    assert not same(first, batches(source, target, profile, seed=2))


@pytest.mark.parametrize("rare", [True, False])
def test_the_source_order_is_independent_of_the_target(tmp_path, source, target, profile, rare):
    write_camvid(tmp_path, 2)
    other = open_dataset("camvid", tmp_path, "train")
    profile = profile.model_copy(update={"rare_class_sampling": rare})
    sources = [
        torch.stack([batch.source_image for batch in batches(source, domain, profile)])
        for domain in (target, other, None)
    ]
    assert torch.equal(sources[0], sources[1])
    assert torch.equal(sources[0], sources[2])


@pytest.mark.parametrize("rare", [True, False])
@pytest.mark.parametrize("labels", [True, False])
def test_without_a_source_the_target_is_the_same_and_nothing_else_is_read(
    source, target, profile, monkeypatch, rare, labels
):
    profile = profile.model_copy(update={"rare_class_sampling": rare})
    both = batches(source, target, profile, target_labels=labels)
    read = set()
    plain = Dataset.read_image

    def spy(self, index, size=None):
        read.add(self.name)
        return plain(self, index, size)

    monkeypatch.setattr(Dataset, "read_image", spy)
    alone = batches(None, target, profile, target_labels=labels)
    assert read == {"cityscapes"}
    for one, other in zip(both, alone, strict=True):
        assert torch.equal(one.target_image, other.target_image)
        assert other.source_image.shape == (0, 3, 24, 32)
        assert other.source_image.dtype == torch.float32
        assert other.source_label.shape == (0, 24, 32)
        assert other.source_label.dtype == torch.int64
        if labels:
            assert torch.equal(one.target_label, other.target_label)
        else:
            assert other.target_label is None


def test_the_oracle_learns_the_same_without_a_source(source, target, profile):
    terms = []
    for domain in (source, None):
        torch.manual_seed(0)
        method = registry.load("oracle")
        method = method(method.Config(), zoo.build("test_mit"))
        assert not method.uses_source
        (batch, *_) = batches(domain, target, profile, target_labels=True)
        terms.append([group["target"].item() for group in method.losses(batch, 0)])
    assert terms[0] == terms[1]


def test_a_loader_of_nothing_is_refused(profile):
    with pytest.raises(ValueError, match="neither a source nor a target"):
        batches(None, None, profile)


def test_without_rare_classes_an_epoch_is_a_permutation(source, target, profile, monkeypatch):
    read = {"gta5": [], "cityscapes": []}
    plain = Dataset.read_image

    def spy(self, index, size=None):
        read[self.name].append(index)
        return plain(self, index, size)

    monkeypatch.setattr(Dataset, "read_image", spy)
    profile = profile.model_copy(update={"rare_class_sampling": False})
    batches(source, target, profile, steps=15)
    for indices, length in ((read["gta5"], 5), (read["cityscapes"], 3)):
        epochs = np.array(indices).reshape(-1, length)
        assert all(sorted(epoch) == list(range(length)) for epoch in epochs.tolist())
        assert len({tuple(epoch) for epoch in epochs.tolist()}) > 1


@pytest.mark.parametrize("rare", [True, False])
def test_target_images_may_be_drawn_with_replacement(source, target, profile, rare, monkeypatch):
    """As the reference does; the source's order and every crop of it stay as they are."""
    profile = profile.model_copy(update={"rare_class_sampling": rare})
    drawing = profile.model_copy(update={"target_with_replacement": True})
    indices = []
    plain = Dataset.read_image

    def spy(self, index, size=None):
        if self.name == "cityscapes":
            indices.append(index)
        return plain(self, index, size)

    in_epochs = batches(source, target, profile)
    monkeypatch.setattr(Dataset, "read_image", spy)
    drawn = batches(source, target, drawing, steps=30)
    assert all(
        torch.equal(a.source_image, b.source_image)
        for a, b in zip(in_epochs, drawn[:STEPS], strict=True)
    )
    counts = np.bincount(indices)
    assert len(counts) == len(target)
    assert counts.min() > 0
    epochs = np.array(indices).reshape(-1, len(target))
    assert any(len(set(epoch)) < len(target) for epoch in epochs.tolist())
    assert same(batches(source, target, drawing, steps=30, start_step=20), drawn[20:])


def test_rare_classes_are_drawn_more_often(source, target, profile):
    """Only image 3 of 5 has a bicycle, of 24 pixels."""
    profile = profile.model_copy(update={"rcs_min_pixels": 20, "rcs_min_crop_ratio": 0.5})
    held = [
        (label == 18).sum() > 10
        for batch in batches(source, target, profile, steps=25)
        for label in batch.source_label
    ]
    plain = profile.model_copy(update={"rare_class_sampling": False})
    by_chance = [
        (label == 18).sum() > 10
        for batch in batches(source, target, plain, steps=25)
        for label in batch.source_label
    ]
    assert sum(held) > 2 * sum(by_chance)


def test_target_labels_are_not_read_unasked(source, target, profile, monkeypatch):
    for sample in target.samples:
        sample.label.unlink()
    (batch, *_) = batches(source, target, profile)
    assert batch.target_label is None


def test_no_target_is_an_empty_image(source, profile):
    (batch, *_) = batches(source, None, profile)
    assert batch.target_image.shape == (0, 3, 24, 32)
    assert batch.target_label is None


def test_a_crop_larger_than_the_image_is_padded(source, target, profile):
    profile = profile.model_copy(update={"crop": (60, 80)})
    (batch, *_) = batches(source, target, profile)
    assert batch.source_label.shape == (2, 60, 80)
    assert (batch.source_label[:, 48:] == 255).all()
    assert (batch.source_label[:, :, 64:] == 255).all()
    assert batch.source_image[:, :, 48:].abs().max() < 0.01


def test_normalise_and_back():
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    out = normalise(levels)
    assert out[0, :, 0, 0].tolist() == pytest.approx([-2.1179, -2.0357, -1.8044], abs=1e-4)
    assert torch.equal(grey_levels(out), levels)


def test_unknown_ids_met_while_training_are_counted(source, profile):
    """Of a set too large to be read whole before it."""
    for sample in source.samples:
        with Image.open(sample.label) as label:
            ids = np.array(label)
        ids[:4] = 99
        save_png(sample.label, ids)
    loader = TrainLoader(source, None, profile, 0, steps=5)
    assert loader.unknown_ids() == []
    list(loader)
    (line,) = loader.unknown_ids()
    assert "gta5 train: labels read while training hold unknown ids (99 in 10 labels)" in line


def test_an_image_that_changes_its_size_stops_the_training(source, target, profile):
    for dataset, labels in ((source, False), (target, True)):
        save_png(dataset.samples[0].image, np.zeros((48, 60, 3), np.uint8))
        pair = (source, None) if dataset is source else (None, target)
        with pytest.raises(DataError, match="60x48 pixels where the label asks for 64x48"):
            list(TrainLoader(*pair, profile, 0, steps=5, target_labels=labels))
