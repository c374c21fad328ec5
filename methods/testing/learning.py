"""Checks of who learns and from what: student and critics, nothing frozen, no target label."""

from __future__ import annotations

import copy
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from methods.contract import Method, Segmentor
from methods.hooks import unregistered
from methods.parts.ema import EMATeacher
from methods.testing.tools import (
    CLASSES,
    ITERATIONS,
    SIZE,
    ContractError,
    Subject,
    critics,
    differing,
    frozen,
    minimised,
    optimiser_for,
    require,
    require_seeded,
    same,
    some,
    train_step,
)


def gradients_reach_the_student_and_nothing_frozen(subject: Subject) -> None:
    """What of the student `setup` holds still, by `requires_grad_(False)`, is frozen too."""
    method = subject.make()
    before = {n: p.clone() for n, p in frozen(method)}
    learning = {n: p for n, p in method.student.named_parameters() if p.requires_grad}
    resting = {id(p) for p in method.student.parameters() if not p.requires_grad}
    names = [n for n, p in method.named_parameters(remove_duplicate=False) if id(p) in resting]
    shared = [n for n in names if not n.startswith("student.")]
    require(not shared, f"the student shares weights with something frozen: {some(shared)}")
    require(learning, "nothing of the student learns: none of its parameters requires a gradient")
    train_step(method, optimiser_for(method), subject.batch(), ITERATIONS - 1)
    silent = [n for n, p in learning.items() if p.grad is None]
    require(not silent, f"no gradient reaches the student's {some(silent)}")
    for part in ("encoder", "head"):
        gradients = [p.grad for n, p in learning.items() if n.startswith(f"{part}.")]
        require(
            not gradients or any(g is not None and g.abs().sum() > 0 for g in gradients),
            f"every gradient of the student's {part} is zero",
        )
    taught = [n for n, p in frozen(method) if p.grad is not None]
    require(not taught, f"gradients reach what is frozen: {some(taught)}")
    moved = [n for n in differing(before, dict(frozen(method))) if not n.startswith("ema.")]
    moved = [n for n in moved if not n.startswith(_averages(method))]
    require(
        not moved,
        f"frozen weights move: {some(moved)}; expected that of an EMA teacher alone, which is "
        "kept as `ema`, an EMATeacher of methods/parts/ema.py or what `ema_teacher` returns",
    )


def _averages(method: Method) -> tuple[str, ...]:
    """What names of parameters of the method's EMA teachers begin with."""
    scored = method.ema_teacher
    return tuple(
        f"{name}."
        for name, module in method.named_modules()
        if isinstance(module, EMATeacher) or module is scored
    )


def a_further_network_only_teaches(subject: Subject) -> None:
    """A network beside student and companions does not learn, and answers without dropout."""
    companions = subject.companions()
    method = subject.make(companions=companions)
    learners = {module for net in (method.student, *companions) for module in net.modules()}
    further = {
        name: module
        for name, module in method.named_modules()
        if isinstance(module, Segmentor) and learners.isdisjoint(module.modules())
    }
    for name, network in further.items():
        require(
            not any(p.requires_grad for p in network.parameters()),
            f"{name} learns, and is neither the student nor a companion: an EMA teacher is an "
            "EMATeacher of methods/parts/ema.py; what is to learn is asked for by companions()",
        )
    dropping: set[str] = set()
    for name, network in further.items():
        for part in network.modules():
            if isinstance(part, _DropoutNd) and part.p:
                part.register_forward_pre_hook(
                    lambda part, given, name=name: dropping.add(name) if part.training else None
                )
    train_step(method, optimiser_for(method), subject.batch(), ITERATIONS - 1)
    require(
        not dropping,
        f"{some(sorted(dropping))} does not learn, and answers with dropout: keep it as EMATeacher "
        "or Frozen, of methods/parts/ema.py",
    )


def its_modules_are_registered(subject: Subject) -> None:
    """In a plain list nobody trains, moves or saves them."""
    method = subject.make()
    hidden = unregistered(method)
    require(
        not hidden,
        f"{some(hidden)} holds modules that are not the method's: expected nn.ModuleList or "
        "nn.ModuleDict",
    )


def the_student_stays_in_training_mode(subject: Subject) -> None:
    """A method that has the student answer in eval mode puts every part back."""
    method = subject.make()
    before = _modes(method.student)
    for step in (0, ITERATIONS - 1):
        train_step(method, optimiser_for(method), subject.batch(), step)
        changed = [name for name, mode in _modes(method.student).items() if mode != before[name]]
        require(
            not changed,
            f"step {step} leaves parts of the student in another mode than it found them in: "
            f"{some(changed)}; put back what eval() and train() change",
        )


def _modes(network: nn.Module) -> dict[str, bool]:
    return {name or "all of it": module.training for name, module in network.named_modules()}


def a_frozen_teacher_stays_as_it_was_given(subject: Subject) -> None:
    """Weights, running means, and the mode that fixes them."""
    teachers = subject.frozen_teachers()
    before = [copy.deepcopy(teacher.state_dict()) for teacher in teachers]
    method = subject.make(teachers=teachers)
    subject.steps(method, 2, first=ITERATIONS - 2)
    for teacher, old in zip(teachers, before, strict=True):
        moved = differing(old, teacher.state_dict())
        require(not moved, f"the frozen teacher {teacher.name} changes: {some(moved)}")
        kept = any(module is teacher for module in method.modules())  # not read once, for a start
        require(
            not kept or not any(module.training for module in teacher.modules()),
            f"the frozen teacher {teacher.name} is in training mode: wrap it in parts.ema.Frozen",
        )


def param_groups_hold_what_learns_each_once(subject: Subject) -> None:
    method = subject.make()
    groups = method.param_groups(1e-3, 0.01, 10.0)
    students = [p for group in groups for p in group["params"]]
    grouped = [*students, *critics(method)]
    names = {id(p): n for n, p in method.named_parameters()}
    require(len(grouped) == len({id(p) for p in grouped}), "a parameter is in two groups")
    wanted = {id(p) for p in method.parameters() if p.requires_grad}
    held = {id(p) for p in grouped}
    idle = [names[i] for i in names if i in wanted - held]
    require(not idle, f"parameters that no optimiser holds: {some(idle)}")
    fixed = [names.get(i, "one that is not the method's") for i in held - wanted]
    require(not fixed, f"an optimiser holds what does not learn: {some(fixed)}")
    learning = {id(p) for p in method.student.parameters() if p.requires_grad}
    absent = learning - {id(p) for p in students}
    require(not absent, "param_groups leaves out a parameter of the student")
    require(all("lr" in group for group in method.critic_groups()), "a critic's group has no lr")


def a_group_teaches_the_student_or_its_critics(subject: Subject) -> None:
    """Whoever's terms they are, the other side must not feel them."""
    method = subject.make()
    theirs = {id(p) for p in critics(method)}
    taught = set()
    for group in method.losses(subject.batch(), ITERATIONS - 1):
        method.zero_grad()
        minimised(group).backward()
        sides = {id(p) in theirs for p in method.parameters() if p.grad is not None}
        require(sides, f"group {some([*group])} teaches nothing that the method holds")
        require(len(sides) == 1, f"group {some([*group])} teaches student and critics at once")
        taught |= sides
    require(taught == ({False, True} if theirs else {False}), "no group teaches the critics")


def every_term_teaches_someone(subject: Subject) -> None:
    """Each term by itself sends a gradient to the student, its critics or a companion.

    A term that is zero, such as one whose weights are, may send zeros; it must reach them.
    """
    companions = subject.companions()
    method = subject.make(companions=companions)
    learners = [*method.student.parameters(), *critics(method)]
    learners += [p for network in companions for p in network.parameters()]
    for group in method.losses(subject.batch(), ITERATIONS - 1):
        learning = [p for p in learners if p.requires_grad]
        for term, value in group.items():
            if term.startswith("log/"):
                continue
            gradients = torch.autograd.grad(value, learning, retain_graph=True, allow_unused=True)
            reached = [gradient for gradient in gradients if gradient is not None]
            require(
                reached and (value == 0 or any(g.any() for g in reached)),
                f"term {term} teaches neither the student nor its critics: no gradient of it "
                f"reaches them; what is only shown is named log/{term}",
            )
        minimised(group).backward()


def the_harness_alone_backpropagates(subject: Subject) -> None:
    """A gradient of the method's own making is in no log, and is not scaled as the others are."""
    method = subject.make()
    learning = {id(p) for g in optimiser_for(method).param_groups for p in g["params"]}
    for _ in method.losses(subject.batch(), ITERATIONS - 1):
        pass
    method.after_step(ITERATIONS - 1)
    left = [n for n, p in method.named_parameters() if id(p) in learning and p.grad is not None]
    require(
        not left,
        f"it calls backward() itself, which leaves gradients on {some(left)}: yield the term, and "
        "the harness does; torch.autograd.grad computes a gradient that a term needs",
    )


def the_head_learns_faster_by_the_factor(subject: Subject) -> None:
    method = subject.make()
    rate = {
        id(p): group["lr"]
        for group in method.param_groups(1e-3, 0.01, 10.0)
        for p in group["params"]
    }
    for part, wanted in (("head", 1e-3 * 10.0), ("encoder", 1e-3)):
        learning = [p for p in getattr(method.student, part).parameters() if p.requires_grad]
        rates = {rate.get(id(p)) for p in learning}
        require(rates <= {wanted}, f"the {part} learns at {rates}, {wanted} expected")


def target_labels_change_nothing(subject: Subject) -> None:
    """The labels that a method must not see are poisoned; every term stays as it is."""
    noise = torch.randint(0, CLASSES, (2, *SIZE), generator=torch.Generator().manual_seed(1))
    noise[:, ::2] = 10**6  # whoever takes it for a class breaks
    terms, weights = _two_steps(subject, noise)
    clean, unpoisoned = _two_steps(subject, None)
    if not same(terms, clean) or differing(weights, unpoisoned):
        require_seeded(clean, _two_steps(subject, None)[0])  # else chance would be blamed on them
    require(same(terms, clean), f"its terms depend on the target's labels; {PEEKS}")
    require(
        not differing(weights, unpoisoned), f"the student depends on the target's labels; {PEEKS}"
    )


#: What to do about it.
PEEKS = (
    "expected that it leaves batch.target_label alone: a class with needs_target_labels = True, "
    "such as the oracle, may use it"
)


def _two_steps(
    subject: Subject, target_label: Tensor | None
) -> tuple[list[Any], dict[str, Tensor]]:
    """Terms of a first and a last step with these labels of the target, and the student then."""
    method = subject.make()
    optimiser = optimiser_for(method)
    torch.manual_seed(1)
    terms = []
    for step in (0, ITERATIONS - 1):
        batch = subject.batch(step)
        batch.target_label = target_label
        try:
            terms.append(train_step(method, optimiser, batch, step))
        except Exception as error:
            if target_label is None:
                raise
            reason = f"poisoned target labels break it: {error}; {PEEKS}"
            raise ContractError(reason) from error
    return terms, method.student.state_dict()


def it_looks_at_the_target(subject: Subject) -> None:
    """Else its weights could serve every target, and `uses_target` should say so."""
    require(
        _outcome(subject, "target", 1.0) != _outcome(subject, "target", -1.0),
        "the target changes nothing: set `uses_target = False`, or the method has no effect",
    )


def it_looks_at_the_source(subject: Subject) -> None:
    """Else the source is read for nothing, and `uses_source` should say so."""
    require(
        _outcome(subject, "source", 1.0) != _outcome(subject, "source", -1.0),
        "the source changes nothing: set `uses_source = False`, or the method has no effect",
    )


def it_works_without_a_target(subject: Subject) -> None:
    """A method with `uses_target = False` may be handed no target image."""
    _is_blind_to(subject, "target")


def it_works_without_a_source(subject: Subject) -> None:
    """A method with `uses_source = False` is handed neither image nor label of the source."""
    _is_blind_to(subject, "source")


Domain = Literal["source", "target"]


def _is_blind_to(subject: Subject, domain: Domain) -> None:
    outcome, other = _outcome(subject, domain, 1.0), _outcome(subject, domain, -1.0)
    if outcome != other:
        require_seeded(outcome, _outcome(subject, domain, 1.0))  # else chance would be blamed on it
    says = f"uses_{domain} is False"
    require(
        outcome == other,
        f"its terms or its student depend on the {domain}: {says}",
    )
    require(
        outcome == _outcome(subject, domain, None),
        f"its terms or its student depend on the {domain} being there: {says}",
    )


def _outcome(subject: Subject, domain: Domain, factor: float | None) -> dict[str, object]:
    """A step's terms and what the student's norms keep, the domain's images times the factor.

    None: with nothing of the domain.
    """
    method = subject.make()
    torch.manual_seed(1)
    batch = subject.batch()
    image = getattr(batch, f"{domain}_image")
    setattr(batch, f"{domain}_image", image[:0] if factor is None else image * factor)
    if domain == "source" and factor is None:
        batch.source_label = batch.source_label[:0]
    terms = train_step(method, optimiser_for(method), batch, ITERATIONS - 1)
    kept = {name: buffer.tolist() for name, buffer in method.student.named_buffers()}
    return {**terms, **kept}
