"""Three whole iterations of DAFormer, the reference's class draws given, nothing else at random."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from functools import cache, partial
from typing import NamedTuple
from unittest.mock import patch

import torch
from golden.compare import Comparison, deviation, differing, largest, prefixed, tensor
from golden.networks import normalise, renamed, tiny_daformer
from golden.schedule import profile
from torch import Tensor, nn

from harness.training.trainer import Trainer
from methods.contract import Batch
from methods.daformer import DAFormer, Mixed
from methods.parts.pseudo_labels import PseudoLabel
from methods.testing.tools import THINGS

INPUTS, STEPS = "h_common.npz", "h_dacs_plain.npz"
ITERATIONS = 3


class Step(NamedTuple):
    """What one iteration left behind."""

    terms: dict[str, Tensor]
    gradients: dict[str, Tensor]
    mixed: Mixed


class Run(NamedTuple):
    """All iterations, and the networks after the first and the last of them."""

    steps: list[Step]
    before: dict[str, Tensor]
    after_first: dict[str, Tensor]
    after_last: dict[str, Tensor]
    teacher: dict[str, Tensor]


class Recorded(DAFormer):
    """DAFormer that remembers its last mixed batch."""

    mixed: Mixed

    def mix(self, batch: Batch, pseudo: PseudoLabel) -> Mixed:
        self.mixed = super().mix(batch, pseudo)
        return self.mixed


def tiny_method() -> Recorded:
    """DAFormer on the tiny network, with the golden file's ImageNet encoder."""
    config = DAFormer.Config(
        pseudo_threshold=0.6,
        ignore_top=5,
        ignore_bottom=20,
        jitter_probability=0,
        blur_probability=0,
    )
    method = Recorded(config, tiny_daformer(), iterations=ITERATIONS, things=THINGS)
    assert method.imagenet is not None
    imagenet = renamed(prefixed(INPUTS, "imnet."))
    method.imagenet.network.load_state_dict(imagenet, strict=False)
    for module in method.ema_teacher.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()  # there, the teacher never saw the student's buffers
    return method.train()


@cache
def run() -> Run:
    """Train for three steps on the golden batch."""
    method = tiny_method()
    batch = Batch(
        normalise(tensor(INPUTS, "img_u8")),
        tensor(INPUTS, "gt"),
        normalise(tensor(INPUTS, "target_img_u8")),
    )
    trainer = Trainer(
        method, profile(iterations=ITERATIONS, warmup=0, power=0), torch.device("cpu")
    )
    values = batch.source_label.unique()
    before, steps, snapshots = deepcopy(method.student.state_dict()), [], []
    for i in range(ITERATIONS):
        drawn = list(values[tensor(STEPS, f"it{i}.class_choice")])
        with patch("methods.daformer.draw_classes", return_value=drawn):
            terms = trainer.step([batch], i)
        gradients = {
            name: parameter.grad.clone()
            for name, parameter in method.student.named_parameters()
            if parameter.grad is not None
        }
        steps.append(Step(terms, gradients, method.mixed))
        snapshots.append(deepcopy(method.student.state_dict()))
    teacher = method.ema_teacher.state_dict()
    return Run(steps, before, snapshots[0], snapshots[-1], teacher)


TERMS = {
    "source": "decode.loss_seg",
    "feature_distance": "src.loss_imnet_feat_dist",
    "mixed": "mix.decode.loss_seg",
}


def loss_term(name: str) -> float:
    return largest(
        (run().steps[i].terms[name], tensor(STEPS, f"it{i}.log.{TERMS[name]}"))
        for i in range(ITERATIONS)
    )


def mixed_labels() -> float:
    return differing(run().steps[0].mixed.label, tensor(STEPS, "it0.mixed_lbl"))


def mixed_weights() -> float:
    return deviation(run().steps[0].mixed.weight, tensor(STEPS, "it0.pseudo_weight_mixed"))


def pseudo_weights() -> float:
    """Confident share of the batch: the only weight below 1 but above 0."""
    ours = [w[(w > 0) & (w < 1)].max() for w in (s.mixed.weight for s in run().steps)]
    theirs = [tensor(STEPS, f"it{i}.ps_weight_scalar") for i in range(ITERATIONS)]
    return largest(zip(ours, theirs, strict=True))


def gradients() -> float:
    """Every kept gradient of the first iteration, each on its own scale."""
    expected = renamed(prefixed(STEPS, "it0.grad."))
    return largest((run().steps[0].gradients[name], value) for name, value in expected.items())


def gradient_norms(i: int) -> float:
    """The norm of every parameter's gradient, on the scale of the largest."""
    expected = renamed(prefixed(STEPS, f"it{i}.gradnorm."))
    ours = torch.stack([run().steps[i].gradients[name].norm() for name in expected])
    return deviation(ours, torch.stack(list(expected.values())))


def parameters() -> Iterator[tuple[Tensor, Tensor]]:
    for state, prefix in ((run().after_first, "it0"), (run().after_last, "it2")):
        for name, value in renamed(prefixed(STEPS, f"{prefix}.param_after.")).items():
            yield state[name], value


def updates() -> Iterator[tuple[Tensor, Tensor]]:
    """How far parameters moved in three steps: what a wrong rate or decay would change."""
    for name, value in renamed(prefixed(STEPS, "it2.param_after.")).items():
        yield run().after_last[name] - run().before[name], value - run().before[name]


def student_buffers() -> float:
    expected = renamed(prefixed(STEPS, "it2.student_buf."))
    return largest((run().after_last[name], value) for name, value in expected.items())


def teacher_state(prefix: str) -> float:
    expected = renamed(prefixed(STEPS, f"it2.{prefix}."))
    return largest((run().teacher[name], value) for name, value in expected.items())


def teacher_sums() -> float:
    expected = renamed(prefixed(STEPS, "it2.ema_param_sum."))
    ours = torch.stack([run().teacher[name].double().sum() for name in expected])
    return deviation(ours, torch.stack(list(expected.values())))


COMPARISONS = [
    *(
        Comparison(f"loss term `{name}`, three iterations", STEPS, 1e-4, partial(loss_term, name))
        for name in TERMS
    ),
    Comparison("mixed labels", STEPS, 1e-3, mixed_labels),
    Comparison("mixed weights", STEPS, 1e-3, mixed_weights),
    Comparison("weight of the pseudo-labels, three iterations", STEPS, 1e-3, pseudo_weights),
    Comparison("gradients of the first iteration", STEPS, 1e-3, gradients),
    *(
        Comparison(f"gradient norms, iteration {i}", STEPS, 1e-3, partial(gradient_norms, i))
        for i in range(ITERATIONS)
    ),
    Comparison("parameters after one and three", STEPS, 1e-3, lambda: largest(parameters())),
    Comparison("their changes in three", STEPS, 5e-3, lambda: largest(updates())),
    Comparison("the student's BatchNorm buffers after three", STEPS, 1e-3, student_buffers),
    Comparison("the EMA teacher's after three", STEPS, 1e-3, partial(teacher_state, "ema_buf")),
    Comparison(
        "the EMA teacher's parameters after three", STEPS, 1e-3, partial(teacher_state, "ema_param")
    ),
    Comparison("sums of all the EMA teacher's parameters", STEPS, 1e-3, teacher_sums),
]  # fmt: skip
