"""Checks of a method's interface: its summary, its terms, its networks' maps."""

from __future__ import annotations

import inspect
from dataclasses import replace

import torch
from pydantic import ValidationError

from methods.contract import IGNORE
from methods.networks.zoo import build
from methods.testing.tools import (
    CLASSES,
    ITERATIONS,
    ContractError,
    Subject,
    minimised,
    optimiser_for,
    require,
    some,
    train_step,
)

#: Sizes that no stride divides, and that do not reach the coarsest.
ODD_SIZES = ((33, 65), (24, 70))


def it_says_what_it_is(subject: Subject) -> None:
    """`bench list` and `bench info` have something to show."""
    method = subject.method
    require(method.title, "it has no `title`, which `bench info` shows")
    docstring = inspect.getdoc(inspect.getmodule(method)) or ""
    require(
        docstring.partition("\n")[0].endswith((".", ")")),
        "its module's docstring does not begin with a sentence, which `bench list` shows",
    )
    undocumented = [k for k, f in method.Config.model_fields.items() if not f.description]
    require(not undocumented, f"knobs without a description: {some(undocumented)}")


def unknown_knobs_are_refused(subject: Subject) -> None:
    try:
        subject.method.Config(**{**subject.knobs, "no_such_knob": 1})
    except ValidationError as error:
        refused = [e["loc"] for e in error.errors() if e["type"] == "extra_forbidden"]
        require(("no_such_knob",) in refused, f"its Config cannot be made: {error}")
        return
    require(False, "its Config ignores an unknown knob: let it inherit Method.Config")


def terms_are_named_finite_scalars(subject: Subject) -> None:
    """At the first step and the last; a term is a scalar with a gradient, unless `log/`."""
    method = subject.make()
    optimiser = optimiser_for(method)
    for step in (0, ITERATIONS - 1):
        names: list[str] = []
        for group in method.losses(subject.batch(), step):
            minimised(group).backward()
            for term, value in group.items():
                require(value.shape == (), f"term {term} has shape {tuple(value.shape)}, not ()")
                require(torch.isfinite(value), f"term {term} is {value.item()} at step {step}")
                require(
                    value.requires_grad or term.startswith("log/"),
                    f"term {term} has no gradient; what is only shown is named log/{term}",
                )
            names += group
        require(names, f"it yields no terms at step {step}")
        shown = all(name.startswith("log/") for name in names)
        require(not shown, f"step {step} has nothing to minimise; it yields {some(names)}")
        twice = sorted({name for name in names if names.count(name) > 1})
        require(not twice, f"a term's name is used twice in a step: {some(twice)}")
        optimiser.step()


def an_unlabelled_source_crop_stays_finite(subject: Subject) -> None:
    """A crop that is ignored everywhere must not bring NaN into the weights."""
    method = subject.make()
    batch = subject.batch()
    batch.source_label.fill_(IGNORE)
    terms = train_step(method, optimiser_for(method), batch, ITERATIONS - 1)
    lost = [name for name, value in terms.items() if value != value]
    require(not lost, f"NaN where every source pixel is ignored: {some(lost)}")
    lost = [n for n, p in method.named_parameters() if not torch.isfinite(p).all()]
    require(not lost, f"weights not finite where every source pixel is ignored: {some(lost)}")


def any_crop_will_do(subject: Subject) -> None:
    """A crop need not be a multiple of the coarsest stride, nor reach it."""
    for size in ODD_SIZES:
        method = subject.make()
        for step in (0, ITERATIONS - 1):
            train_step(method, optimiser_for(method), subject.batch(size=size), step)


def any_number_of_classes_will_do(subject: Subject) -> None:
    """How many there are the student says, and not the paper's benchmark."""
    classes = CLASSES + 4
    try:
        _first_and_last_step(replace(subject, classes=classes))
    except (RuntimeError, IndexError, ValueError) as error:
        _first_and_last_step(subject)  # what breaks with any number is no matter of theirs
        raise ContractError(
            f"with {classes} classes it breaks, with {CLASSES} it does not: {error}; "
            "self.student.num_classes says how many there are"
        ) from error


def _first_and_last_step(subject: Subject) -> None:
    method = subject.make()
    for step in (0, ITERATIONS - 1):
        train_step(method, optimiser_for(method), subject.batch(step), step)


def its_networks_answer_at_any_size(subject: Subject) -> None:
    """What is scored gives class scores and the maps that it says it has."""
    method = subject.make().eval()
    for network in (method.student, method.ema_teacher):
        if network is None:
            continue
        for height, width in ODD_SIZES:
            with torch.no_grad():
                output = network(torch.randn(2, 3, height, width))
            classes = tuple(output.logits.shape[:2])
            require(classes == (2, CLASSES), f"logits begin {classes}, (2, {CLASSES}) due")
            require(torch.isfinite(output.logits).all(), "logits are not finite")
            widths = [feature.shape[1] for feature in output.features]
            promised = [*network.feature_channels, network.fused_channels]
            require(
                [*widths, output.fused.shape[1]] == promised,
                f"maps of {widths} and {output.fused.shape[1]} channels, {promised} promised",
            )


def its_networks_are_built_again_by_their_names(subject: Subject) -> None:
    """What a run saves is loaded into the network of the name that it has: scored later, too."""
    method = subject.make()
    for network in (method.student, method.ema_teacher):
        if network is None:
            continue
        with torch.device("meta"):
            built = build(network.name, CLASSES)
        theirs, ours = ({k: v.shape for k, v in n.state_dict().items()} for n in (network, built))
        misfits = [k for k in theirs.keys() | ours.keys() if theirs.get(k) != ours.get(k)]
        require(not misfits, f"{network.name} by its name has other parameters: {some(misfits)}")


def the_batch_stays_as_it_is(subject: Subject) -> None:
    """Its tensors are the harness's: what is mixed or augmented is a copy."""
    method = subject.make()
    for step in (0, ITERATIONS - 1):
        batch = subject.batch()
        before = {k: v.clone() for k, v in vars(batch).items() if v is not None}
        train_step(method, optimiser_for(method), batch, step)
        changed = [k for k, v in before.items() if not torch.equal(v, getattr(batch, k))]
        require(
            not changed,
            f"step {step} changes the batch: {some(changed)}; expected changes to a copy, .clone()",
        )
