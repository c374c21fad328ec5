"""How many operations a step gives a GPU to launch, against the public reference's."""

from __future__ import annotations

import sys

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from harness.config import catalogue
from harness.training import execution
from harness.training.trainer import Trainer
from methods import registry
from methods.contract import Batch
from methods.networks import zoo

#: Of DAFormer's public code with MiT-B0, counted so: benchmarks/speed/reference.md.
REFERENCE = 6383


class Count(TorchDispatchMode):
    """Dispatched operations but for those that only return a view."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        returned = function._schema.returns
        aliases = [r.alias_info for r in returned if r.alias_info is not None]
        self.operations += not any(not alias.is_write for alias in aliases)
        return function(*args, **(kwargs or {}))


def operations(side: int) -> int:
    """Of a step of DAFormer's MiT-B0 on two images of so many pixels squared."""
    profile, cpu = catalogue.profile("paper"), torch.device("cpu")
    daformer = registry.load("daformer")
    knobs = {k: v for k, v in profile.knobs.items() if k in daformer.Config.model_fields}
    config = daformer.Config(**knobs | {"jitter_probability": 1.0, "blur_probability": 1.0})
    torch.manual_seed(0)
    student = zoo.build("daformer_mitb0")
    method = daformer(config, student, [], iterations=profile.iterations, things=(6, 7, 11)).train()
    execution.prepare(method, profile, cpu)
    trainer = Trainer(method, profile, cpu)
    images = torch.randn(2, 2, 3, side, side)
    cells = torch.randint(0, 19, (2, side // 32, side // 32))
    label = cells.repeat_interleave(32, 1).repeat_interleave(32, 2)
    label[:, :32, :32] = 11  # a thing: the ImageNet network looks
    batch = Batch(images[0], label, images[1])
    trainer.step([batch], 1)
    with Count() as count:
        trainer.step([batch], 2)
    return count.operations


def test_a_quarter_of_the_references_for_a_gpu(monkeypatch):
    for name, module in list(sys.modules.items()):
        for way in ("eager_on_cpu", "plain_on_cpu"):  # a CPU's own ways are not a GPU's
            if name.startswith("methods.") and hasattr(module, way):
                monkeypatch.setattr(module, way, lambda x: False)
    assert operations(64) <= 0.25 * REFERENCE


def test_a_cpus_own_ways_do_not_cut_a_step_into_small_pieces():
    """Of a size that takes Winograd's tiles: a row of them at a time was 6,188 operations."""
    assert operations(128) <= 0.45 * REFERENCE
