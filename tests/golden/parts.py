"""The parts of a method, one at a time, on the reference's inputs and draws."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from golden.compare import Comparison, deviation, differing, largest, prefixed, tensor
from golden.networks import normalise
from torch import Tensor, nn

from methods.contract import IGNORE
from methods.parts.augment import (
    Jitter,
    colour_jitter,
    denormalise,
    gaussian_blur,
    hsv_to_rgb,
    renormalise,
    rgb_to_hsv,
)
from methods.parts.class_mix import class_mask, paste
from methods.parts.ema import EMATeacher
from methods.parts.feature_distance import class_mask as thing_mask
from methods.parts.feature_distance import downscale_label, feature_distance
from methods.parts.losses import cross_entropy
from methods.testing.tools import THINGS

LOSSES, AUGMENT, DOWNSCALE = "b_losses.npz", "c_augment.npz", "d_downscale_label_ratio.npz"
DISTANCE, EMA = "f_feat_dist.npz", "g_ema.npz"


def loss_and_gradient(kind: str) -> float:
    logits = tensor(LOSSES, "logits_low").requires_grad_()
    weight = tensor(LOSSES, "weight") if kind == "w" else None
    loss = cross_entropy(logits, tensor(LOSSES, "label"), weight)
    (gradient,) = torch.autograd.grad(loss, logits)
    expected = tensor(LOSSES, f"loss_{kind}"), tensor(LOSSES, f"grad_{kind}")
    return largest(zip((loss, gradient), expected, strict=True))


def loss_all_ignored() -> float:
    ignored = torch.full_like(tensor(LOSSES, "label"), IGNORE)
    loss = cross_entropy(tensor(LOSSES, "logits_low"), ignored)
    return deviation(loss, tensor(LOSSES, "loss_all_ignored"))


def mix_masks() -> Tensor:
    """Our masks (B, H, W) for the classes that the reference drew."""
    label = tensor(AUGMENT, "mix_label")
    values, choice = tensor(AUGMENT, "mix_unique_batch"), tensor(AUGMENT, "mix_choice")
    assert torch.equal(label.unique(), values)
    return class_mask(label, list(values[choice]))


def class_mix_masks() -> float:
    return differing(mix_masks(), tensor(AUGMENT, "mix_masks").bool())


def class_mix_image() -> float:
    source, target = (normalise(tensor(AUGMENT, f"mix_{x}_u8")) for x in ("src", "trg"))
    return deviation(paste(mix_masks(), source, target)[:1], tensor(AUGMENT, "mix0_img"))


def class_mix_labels() -> float:
    mixed = paste(mix_masks(), tensor(AUGMENT, "mix_label"), tensor(AUGMENT, "mix_pseudo"))
    expected = torch.cat([tensor(AUGMENT, f"mix{i}_lbl") for i in (0, 1)])
    return differing(mixed, expected)


#: Colour operations work on single pixels: the file keeps the first rows of their outputs.
ROWS = 32


def normalised_rows() -> Tensor:
    return normalise(tensor(AUGMENT, "img_u8"))[0, :, :ROWS]


def one_colour_operation(name: str, operation: int, jitter: Jitter) -> float:
    pixels = denormalise(normalised_rows())
    ours = colour_jitter(pixels, jitter._replace(order=(operation,)))
    return deviation(ours, tensor(AUGMENT, name)[0])


def hsv_corner_cases() -> float:
    """Greys, primaries and ties: to HSV, back, a saturation and a hue shift."""
    image = tensor(AUGMENT, "edge_rgb")[0]
    hue, saturation, value = rgb_to_hsv(image)
    ours = {
        "hsv": torch.stack([hue * 2 * torch.pi, saturation, value]),
        "back": hsv_to_rgb(hue, saturation, value),
        "sat_1.2": colour_jitter(image, Jitter(1, 1, 1.2, 0, (2,))),
        "hue_0.2": colour_jitter(image, Jitter(1, 1, 1, 0.2, (3,))),
    }
    return largest((x, tensor(AUGMENT, f"edge_{name}")[0]) for name, x in ours.items())


def whole_jitter(case: int) -> float:
    b, c, h, s = tensor(AUGMENT, f"jit{case}_factors_b_c_h_s").tolist()
    order = tuple(tensor(AUGMENT, f"jit{case}_order").tolist())
    ours = renormalise(colour_jitter(denormalise(normalised_rows()), Jitter(b, c, s, h, order)))
    return deviation(ours, tensor(AUGMENT, f"jit{case}_out")[0])


def blur(case: int) -> float:
    sigma = tensor(AUGMENT, f"blur{case}_sigma").item()
    ours = gaussian_blur(normalise(tensor(AUGMENT, "img_u8"))[0], sigma)
    return deviation(ours, tensor(AUGMENT, f"blur{case}_out")[0])


def jitter_then_blur() -> float:
    """The reference's whole strong transform of a mixed image, its draws given."""
    b, c, s, h = (
        tensor(AUGMENT, f"strong_{x}").item()
        for x in ("brightness", "contrast", "saturation", "hue")
    )
    order = tuple(tensor(AUGMENT, "strong_order").tolist())
    pixels = denormalise(tensor(AUGMENT, "mix0_img")[0])
    jittered = renormalise(colour_jitter(pixels, Jitter(b, c, s, h, order)))
    ours = gaussian_blur(jittered, tensor(AUGMENT, "strong_sigma").item())
    return deviation(ours, tensor(AUGMENT, "strong_img")[0])


def downscaled_labels() -> float:
    cases = [(f"in{i}", f"scale{i}", f"out{i}_r{r}", r) for i in (0, 1, 2) for r in (0.75, 0.5)]
    cases += [("edge_in", "edge_scale", f"edge_out_r{r}", r) for r in (0.75, 0.5)]
    shares = [
        differing(
            downscale_label(tensor(DOWNSCALE, label), int(tensor(DOWNSCALE, scale)), 19, ratio),
            tensor(DOWNSCALE, expected),
        )
        for label, scale, expected, ratio in cases
    ]
    ignored = downscale_label(tensor(DOWNSCALE, "ign_in"), 4, 19, 0.75)
    return max(*shares, differing(ignored, tensor(DOWNSCALE, "ign_out_r0.75")))


def distance_and_gradient() -> float:
    features = tensor(DISTANCE, "feat").requires_grad_()
    cells = downscale_label(tensor(DISTANCE, "gt"), 32, 19, float(tensor(DISTANCE, "min_ratio")))
    distance = feature_distance(features, tensor(DISTANCE, "feat_imnet"), thing_mask(cells, THINGS))
    loss = tensor(DISTANCE, "fdist_lambda") * distance
    (gradient,) = torch.autograd.grad(loss, features)
    return largest([(loss, tensor(DISTANCE, "loss")), (gradient, tensor(DISTANCE, "grad"))])


def distance_mask() -> float:
    cells = downscale_label(tensor(DISTANCE, "gt"), 32, 19, 0.75)
    mask = tensor(DISTANCE, "mask").squeeze(1)
    return max(
        differing(cells, tensor(DISTANCE, "gt_rescaled")),
        differing(thing_mask(cells, THINGS), mask),
    )


def distance_everywhere() -> float:
    distance = feature_distance(tensor(DISTANCE, "feat"), tensor(DISTANCE, "feat_imnet"))
    return deviation(
        tensor(DISTANCE, "fdist_lambda") * distance, tensor(DISTANCE, "loss_allclasses")
    )


def distance_nowhere() -> float:
    """No thing in the batch: the reference's gradient is 0, its loss NaN; ours is 0."""
    features = tensor(DISTANCE, "feat").requires_grad_()
    empty = torch.zeros(2, 3, 4, dtype=torch.bool)
    loss = feature_distance(features, tensor(DISTANCE, "feat_imnet"), empty)
    (gradient,) = torch.autograd.grad(loss, features)
    assert tensor(DISTANCE, "empty_loss").isnan()
    return max(loss.item(), deviation(gradient, tensor(DISTANCE, "empty_grad")))


class Student(nn.Module):
    """The reference's small network of one parameter, one linear layer and one BatchNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.s = nn.Parameter(torch.zeros(()))
        self.lin = nn.Linear(4, 3)
        self.bn = nn.BatchNorm1d(3)


def ema_iterations() -> Iterator[tuple[Tensor, Tensor]]:
    """Our average and the reference's after each of six updates, parameters and buffers."""
    student = Student()
    teacher = EMATeacher(student, float(tensor(EMA, "alpha")))  # type: ignore[arg-type]
    teacher.network.load_state_dict(prefixed(EMA, "ema_before_init."))
    for step in range(6):
        student.load_state_dict(prefixed(EMA, f"student{step}."), strict=step == 0)
        teacher.update(student, step)  # type: ignore[arg-type]
        ours = teacher.network.state_dict()
        for name, expected in prefixed(EMA, f"ema{step}.").items():
            yield ours[name], expected
    assert not any(p.requires_grad for p in teacher.network.parameters())


COMPARISONS = [
    Comparison("cross-entropy and its gradient", LOSSES, 1e-5, partial(loss_and_gradient, "now")),
    Comparison("the same with pixel weights", LOSSES, 1e-5, partial(loss_and_gradient, "w")),
    Comparison("cross-entropy, every pixel ignored", LOSSES, 0, loss_all_ignored),
    Comparison("ClassMix: masks of the drawn classes", AUGMENT, 0, class_mix_masks),
    Comparison("ClassMix: mixed image", AUGMENT, 1e-6, class_mix_image),
    Comparison("ClassMix: mixed labels", AUGMENT, 0, class_mix_labels),
    *(
        Comparison(
            f"colour jitter: {title}", AUGMENT, 1e-5,
            partial(one_colour_operation, name, operation, Jitter(1.15, 0.85, 1.2, -0.13)),
        )
        for operation, (title, name) in enumerate(
            {
                "brightness": "bri_1.15",
                "contrast": "con_0.85",
                "saturation": "sat_1.20",
                "hue": "hue_m0.13",
            }.items()
        )
    ),
    Comparison("colour jitter: greys, primaries, ties", AUGMENT, 1e-5, hsv_corner_cases),
    *(
        Comparison(
            f"colour jitter: whole, draw {case}", AUGMENT, 1e-4, partial(whole_jitter, case)
        )
        for case in (0, 1, 2)
    ),
    *(
        Comparison(f"Gaussian blur, sigma {sigma}", AUGMENT, 1e-5, partial(blur, case))
        for case, sigma in ((0, 0.15), (2, 1.15))
    ),
    Comparison("jitter, then blur, of a mixed image", AUGMENT, 1e-4, jitter_then_blur),
    Comparison("labels scaled down by majority share", DOWNSCALE, 0, downscaled_labels),
    Comparison("feature distance on things, gradient", DISTANCE, 1e-5, distance_and_gradient),
    Comparison("its labels and mask", DISTANCE, 0, distance_mask),
    Comparison("feature distance over all cells", DISTANCE, 1e-5, distance_everywhere),
    Comparison("its gradient where there is no thing", DISTANCE, 0, distance_nowhere),
    Comparison("EMA teacher, six updates", EMA, 1e-6, lambda: largest(ema_iterations())),
]  # fmt: skip
