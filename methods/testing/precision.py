"""Checks of mixed precision: what is learnt in bf16 and fp16 is what is learnt in fp32."""

from __future__ import annotations

import torch
from torch import Tensor

from methods.contract import Method
from methods.testing.tools import ITERATIONS, Subject, minimised, require, some

#: Large enough that no statistic of a normalisation is over a handful of values, and so unstable.
SIZE = (64, 128)
#: Norm of the difference / norm in fp32; built-in methods reach 0.03 in bf16 and 0.01 in fp16.
TOLERANCE = 0.25
#: Of the loss before backward, as a gradient scaler's: small gradients are no fp16 numbers.
SCALE = 1024.0


def its_gradients_are_the_same_in_bf16(subject: Subject) -> None:
    _agree(subject, torch.bfloat16, "bf16")


def its_gradients_are_the_same_in_fp16(subject: Subject) -> None:
    """Passes unseen where this CPU or this torch has no convolution in fp16."""
    if _convolves(torch.float16):
        _agree(subject, torch.float16, "fp16")


def _agree(subject: Subject, dtype: torch.dtype, name: str) -> None:
    """Compare the gradients of one step's terms in `dtype` and in fp32, equal in all else."""
    full, reduced = _gradients(subject, None), _gradients(subject, dtype)
    lost = [n for n in full if n not in reduced]
    require(not lost, f"in {name} no gradient reaches {some(lost)}, in fp32 one does")
    for part in ("student.encoder.", "student.head."):
        names = [n for n in full if n.startswith(part)]
        if not names:
            continue
        expected = torch.cat([full[n].flatten() for n in names])
        given = torch.cat([reduced[n].flatten() for n in names])
        require(torch.isfinite(given).all(), f"in {name} gradients of {part}* are not finite")
        error = (given - expected).norm() / expected.norm().clamp(min=1e-12)
        require(
            error <= TOLERANCE,
            f"in {name} gradients of {part}* differ from those in fp32 by {error:.2f} of their "
            f"norm, at most {TOLERANCE} expected: compute what is sensitive in .float()",
        )


def _gradients(subject: Subject, dtype: torch.dtype | None) -> dict[str, Tensor]:
    """Gradients of a step by parameter, forwards under autocast to `dtype`; None: fp32."""
    method: Method = subject.make()
    torch.manual_seed(1)
    groups = method.losses(subject.batch(size=SIZE), ITERATIONS - 1)
    while True:
        # As the harness does: without a cache, which may hold weights cast without a gradient.
        with torch.autocast("cpu", dtype or torch.bfloat16, dtype is not None, cache_enabled=False):
            group = next(groups, None)
        if group is None:
            break
        (minimised(group) * SCALE).backward()
        del group
    return {n: p.grad / SCALE for n, p in method.named_parameters() if p.grad is not None}


def _convolves(dtype: torch.dtype) -> bool:
    """Whether a convolution learns in `dtype` here."""
    layer, image = torch.nn.Conv2d(1, 1, 3), torch.zeros(1, 1, 4, 4)
    try:
        with torch.autocast("cpu", dtype):
            answer = layer(image)
        answer.sum().backward()
    except RuntimeError:
        return False
    return answer.dtype is dtype
