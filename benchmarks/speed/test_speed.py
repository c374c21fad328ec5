"""How long the pieces of a `tiny` run take: `pytest benchmarks/speed`.

docs/speed.md says how two revisions are compared.
"""

from __future__ import annotations

from itertools import count

import numpy as np
import pytest
import torch

from harness.config import catalogue
from harness.data.augment import augment
from harness.data.scenes import draw_scene
from harness.evaluation.metrics import confusion, evaluate
from harness.training.trainer import Trainer
from methods import registry
from methods.contract import Batch
from methods.networks import zoo
from methods.parts.augment import strong_augment
from methods.parts.class_mix import class_mask, draw_classes, paste
from methods.parts.ema import EMATeacher

PROFILE = catalogue.profile("tiny")
SIZE = (PROFILE.batch_size, *PROFILE.crop)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, SIZE[0], 3, *SIZE[1:], generator=generator)
    labels = torch.randint(0, 19, (2, *SIZE), generator=generator)
    return Batch(images[0], labels[0], images[1], labels[1])


@pytest.mark.parametrize("name", registry.names())
def test_step(benchmark, batch, name):
    """One step of the optimiser with every term active."""
    method = registry.load(name)
    config = method.Config(
        **{k: v for k, v in PROFILE.knobs.items() if k in method.Config.model_fields}
    )
    teachers = [zoo.build(t.network) for t in method.frozen_teachers(config, PROFILE.student)]
    made = method(config, zoo.build(PROFILE.student), teachers, iterations=PROFILE.iterations)
    made.train()
    trainer = Trainer(made, PROFILE, torch.device("cpu"))
    benchmark(trainer.step, [batch], PROFILE.iterations - 1)


@pytest.mark.parametrize("name", ["mini_s", "mini_m"])
def test_inference(benchmark, batch, name):
    network = zoo.build(name).eval()
    with torch.inference_mode():
        benchmark(network, batch.source_image)


def test_ema(benchmark):
    student = zoo.build(PROFILE.student)
    teacher, steps = EMATeacher(student, 0.99), count(100)
    benchmark(lambda: teacher.update(student, next(steps)))  # the same step again moves nothing


def test_mixing(benchmark, batch):
    generator = torch.Generator().manual_seed(0)

    def mix():
        mask = class_mask(batch.source_label, draw_classes(batch.source_label, generator))
        return strong_augment(paste(mask, batch.source_image, batch.target_image), generator, 1, 1)

    benchmark(mix)


def test_metric(benchmark, batch):
    benchmark(confusion, batch.source_label, batch.target_label)


def test_evaluation(benchmark, batch):
    """One image to its counts, against a label of Cityscapes' full size."""
    network = zoo.build(PROFILE.student)
    label = torch.randint(0, 19, (1, 1024, 2048), generator=torch.Generator().manual_seed(0))
    benchmark(evaluate, network, [(batch.source_image[:1], label)])


@pytest.mark.parametrize("kind", ["photometric", "strong"])
def test_source_augmentation(benchmark, kind):
    image = draw_scene("gta5", "train", 0).image
    benchmark(augment, image, kind, np.random.default_rng(0))


@pytest.mark.parametrize("name", ["gta5", "synthia", "cityscapes"])
def test_draw_scene(benchmark, name):
    benchmark(draw_scene, name, "train", 0)
