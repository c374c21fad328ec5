"""Whether a device computes what a CPU does: two steps of a method from the same weights.

Reference is the CPU in fp32; the device is measured against it in each precision. A CPU is held
against itself with another number of threads. Networks are untrained and settings such that every
term counts. A CPU in fp32 compiles nothing: with compile=default that is compared too.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harness.config.planning import find_method
from harness.files import write_text
from harness.measure.environment import choose_device
from harness.runs.speed.cases import SpeedCase
from harness.runs.speed.step import SyntheticStep
from harness.training.precision import computing_threads, set_float32
from methods.networks.encoders.mit import DropPath
from methods.parts.ema import Frozen

#: Largest difference relative to the reference: of each loss term in two steps, of all gradients
#: of the first (their L2 norm). On a CPU, of test_mit: fp32 3e-7, bf16 0.06, fp16 1.3e-3 of the
#: gradients, 1e-4 of the terms; pixels whose class turns over add to it.
TOLERANCE = {"fp32": (1e-3, 1e-2), "bf16": (5e-2, 2e-1), "fp16": (1e-2, 5e-2)}
#: Knobs, of methods that have them, with which every term has weight: a random network is sure of
#: nothing, and cells of its last maps may be larger than blocks of one class. Hidden pixels are
#: single ones: where a whole patch is hidden, its norm's gradient is so large that fp16 overflows.
EVERY_TERM = {
    "mix_start": 0, "pseudo_threshold": 0, "ignore_top": 1, "ignore_bottom": 2,
    "jitter_probability": 1, "blur_probability": 1, "lambda_fd": 0.005, "fd_min_ratio": 0.3,
    "mask_block": 1, "mask_ratio": 0.5,
}  # fmt: skip
#: Of fp16's gradients; its own first choice overflows, and a step is skipped.
SCALE = 1024.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--method", required=True)
    parser.add_argument("--student", required=True)
    parser.add_argument("--profile", default="tiny")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--precision", default=",".join(TOLERANCE), help="some of them")
    parser.add_argument("--device")
    parser.add_argument("--json", type=Path, required=True)
    asked = parser.parse_args()
    device = choose_device(asked.device)
    case = SpeedCase(
        method=asked.method,
        student=asked.student,
        profile=asked.profile,
        overrides=tuple(asked.overrides),
    )
    findings = compare(case, device, asked.precision.split(","))
    write_text(asked.json, json.dumps(findings, indent=1) + "\n")
    for finding in findings:
        print(json.dumps(finding))
    sys.exit(0 if all(finding["within"] for finding in findings) else 1)


def compare(
    case: SpeedCase, device: torch.device, precisions: Sequence[str] = tuple(TOLERANCE)
) -> list[dict[str, Any]]:
    """One finding a precision: the differences, what is allowed, and whether they are within.

    Where the device compiles nothing although that was asked for, they are not.
    """
    cpu = torch.device("cpu")
    other = 2 if torch.get_num_threads() == 1 else 1
    eager = case.model_copy(update={"overrides": (*case.overrides, "compile=off")})
    terms, gradient, state, _ = two_steps(eager, cpu, "fp32", None)
    findings = []
    for precision in precisions:
        of_terms, of_gradient = TOLERANCE[precision]
        with computing_threads(other, device):
            device_terms, device_gradient, _, unmet = two_steps(case, device, precision, state)
        difference = {name: relative(device_terms[name], terms[name]) for name in terms}
        turned = float((device_gradient - gradient).norm() / gradient.norm())
        within = max(difference.values()) <= of_terms and turned <= of_gradient
        as_asked = not any(line.startswith("compile=") for line in unmet)
        findings.append(
            {
                "method": case.method,
                "student": case.student,
                "device": str(device),
                "precision": precision,
                "terms": difference,
                "terms_allowed": of_terms,
                "gradient": turned,
                "gradient_allowed": of_gradient,
                "unmet": unmet,
                "within": bool(within and as_asked),
            }
        )
    return findings


def two_steps(
    case: SpeedCase, device: torch.device, precision: str, state: dict[str, Tensor] | None
) -> tuple[dict[str, float], Tensor, dict[str, Tensor], list[str]]:
    """Terms of two steps, all gradients of the first as one vector, the state before them.

    Also settings that the device does not support.
    """
    overrides = (*every_term(case), *case.overrides, f"precision={precision}", "tf32=false")
    plan = case.model_copy(update={"overrides": overrides}).plan()
    set_float32(tf32=False)
    torch.manual_seed(0)
    training = SyntheticStep(plan, device)
    without_dropout(training.method)
    if state is None:
        set_apart(training.method)
        state = {k: v.clone() for k, v in training.method.state_dict().items()}
    training.method.load_state_dict(state)
    if precision == "fp16":
        training.trainer.scaler = torch.amp.GradScaler(device.type, init_scale=SCALE)
    first = plan.spec.profile.iterations * 7 // 10
    terms = {f"{name}, step 1": float(v) for name, v in training.run(first).items()}
    gradients = [p.grad for _, p in sorted(training.method.named_parameters())]
    gradient = torch.cat([g.float().flatten().cpu() for g in gradients if g is not None])
    terms |= {f"{name}, step 2": float(v) for name, v in training.run(first + 1).items()}
    return terms, gradient, state, training.unmet


def every_term(case: SpeedCase) -> list[str]:
    """Settings with which every term of the method counts."""
    knobs = find_method(case.method).Config.model_fields
    return [f"{knob}={value}" for knob, value in EVERY_TERM.items() if knob in knobs]


@torch.no_grad()
def set_apart(method: nn.Module) -> None:
    """Move frozen networks away from the student: an equal one has distance and gradient 0."""
    for module in method.modules():
        if isinstance(module, Frozen):
            for parameter in module.parameters():
                parameter.mul_(1.5)


def without_dropout(method: nn.Module) -> None:
    """Dropout and drop-path draw from the device's own generator: none here."""
    for module in method.modules():
        if isinstance(module, (nn.modules.dropout._DropoutNd, DropPath)):
            module.p = 0.0
        if hasattr(module, "drop_prob"):
            module.drop_prob = 0.0


def relative(value: float, reference: float) -> float:
    """Difference over the reference; over 1e-3 where that is smaller, as an empty term's is."""
    return abs(value - reference) / max(abs(reference), 1e-3)


if __name__ == "__main__":
    main()
