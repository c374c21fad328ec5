"""Optimiser and schedule: who learns how fast, and when."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from golden.compare import Comparison, arrays, deviation, differing, read_json
from golden.networks import tiny_daformer

from harness.config.schema import Profile
from harness.training.trainer import make_optimiser, rate_factor
from methods.networks.zoo import build
from methods.source_only import SourceOnly

RATES, GROUPS = "i_lr.npz", "i_optimizer_groups.json"


def profile(**fields: Any) -> Profile:
    """The paper's profile, with some fields replaced."""
    paper: dict[str, Any] = {
        "name": "paper",
        "description": "",
        "image_size": {},
        "crop": (512, 512),
        "batch_size": 2,
        "iterations": 40_000,
        "teacher_iterations": 40_000,
        "lr": 6e-5,
        "student": "any",
    }
    return Profile(**paper | fields)


def learning_rates() -> float:
    factors = [rate_factor(int(step), profile()) for step in arrays(RATES)["iters"]]
    ours = np.outer(factors, [6e-5, 6e-4])
    theirs = arrays(RATES)["poly10warm_lr_base_head"]
    return max(deviation(mine, other) for mine, other in zip(ours, theirs, strict=True))


def parameter_groups() -> float:
    """Rate and decay of every parameter of the tiny network."""
    method = SourceOnly(SourceOnly.Config(), tiny_daformer())
    names = {id(p): name for name, p in method.named_parameters()}
    ours = {
        names[id(p)]: (group["lr"], group["weight_decay"])
        for group in make_optimiser(method, profile()).param_groups
        for p in group["params"]
    }
    theirs = {
        name.replace("model.backbone.", "student.encoder.").replace(
            "model.decode_head.", "student.head."
        ): tuple(value)
        for name, value in read_json(GROUPS)["tiny_model"].items()
    }
    assert ours.keys() == theirs.keys()
    return deviation(
        np.array([ours[name] for name in theirs]), np.array([theirs[name] for name in theirs])
    )


def group_sizes() -> float:
    """Parameters of DAFormer on MiT-B5 by rate and decay, without weights."""
    with torch.device("meta"):
        method = SourceOnly(SourceOnly.Config(), build("daformer_mitb5"))
    summary = read_json(GROUPS)["daformer_mit_b5_summary"]
    groups = method.param_groups(6e-5, 0.01, 10)
    ours = [len(group["params"]) for group in groups]
    keys = [f"model lr={g['lr']:g} wd={g['weight_decay']:g}" for g in groups]
    return differing(np.array(ours), np.array([summary[key] for key in keys]))


def adamw_defaults() -> float:
    method = SourceOnly(SourceOnly.Config(), tiny_daformer())
    expected = read_json(GROUPS)["adamw_defaults"]
    ours = make_optimiser(method, profile()).defaults
    return float(any(ours[name] != _hashable(value) for name, value in expected.items()))


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


COMPARISONS = [
    Comparison("learning rates over 40,000 iterations", RATES, 1e-9, learning_rates),
    Comparison("rate and decay of every parameter", GROUPS, 1e-9, parameter_groups),
    Comparison("the same counted for MiT-B5", GROUPS, 0, group_sizes),
    Comparison("AdamW's betas, epsilon", GROUPS, 0, adamw_defaults),
]
