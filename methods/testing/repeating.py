"""Checks of what a step leaves behind: the same again, resumed exactly, and nothing in memory."""

from __future__ import annotations

import copy
import gc
import weakref
from typing import Any

import torch
from torch import Tensor, nn

from methods.contract import Method
from methods.parts.older_objects import passing_over_older_objects
from methods.testing.tools import (
    ITERATIONS,
    NETWORKS,
    Subject,
    differing,
    minimised,
    optimiser_for,
    require,
    require_seeded,
    same,
    some,
    train_step,
)


def equal_seeds_give_equal_steps(subject: Subject) -> None:
    runs = []
    for _ in range(2):
        method = subject.make()
        torch.manual_seed(7)  # dropout and drop-path draw from torch's own generator
        runs.append(subject.steps(method, 2, first=ITERATIONS - 2))
    require_seeded(*runs)


def its_draws_leave_torchs_generator_alone(subject: Subject) -> None:
    """One more draw in a method must not move dropout, and so every later figure."""
    method = subject.make()
    method.eval()  # no dropout: whatever is drawn now is the method's own
    torch.manual_seed(3)
    before = torch.get_rng_state()
    list(method.losses(subject.batch(), ITERATIONS - 1))
    require(
        torch.equal(torch.get_rng_state(), before),
        "it draws from torch's own generator: hand self.generator to what draws",
    )


def the_state_dict_resumes_it_exactly(subject: Subject) -> None:
    """Saved in mid-run and loaded into another one, the next steps are the same."""
    done = 1 if subject.network == NETWORKS[0] else ITERATIONS - 1
    left = range(done, ITERATIONS)

    def uninterrupted() -> tuple[Method, Any, list[Any]]:
        method = subject.make()
        optimiser = optimiser_for(method)
        torch.manual_seed(5)
        for step in range(done):
            train_step(method, optimiser, subject.batch(step), step)
        states = copy.deepcopy((method.state_dict(), optimiser.state_dict()))
        saved = *states, method.generator.get_state(), torch.get_rng_state()
        terms = [train_step(method, optimiser, subject.batch(step), step) for step in left]
        return method, saved, terms

    method, saved, expected = uninterrupted()
    resumed = subject.make(seed=99)
    again = optimiser_for(resumed)
    resumed.load_state_dict(saved[0])
    again.load_state_dict(saved[1])
    resumed.generator.set_state(saved[2])
    torch.set_rng_state(saved[3])
    terms = [train_step(resumed, again, subject.batch(step), step) for step in left]
    if not same(terms, expected):
        require_seeded(expected, uninterrupted()[2])  # else chance would be blamed on its memory
    require(
        same(terms, expected),
        f"resumed after step {done} it goes on otherwise: what it remembers must be a "
        f"parameter or a buffer; {expected} became {terms}",
    )
    moved = differing(method.state_dict(), resumed.state_dict())
    require(not moved, f"resumed after step {done} it ends otherwise: {some(moved)}")


def one_graph_is_alive_at_a_time(subject: Subject) -> None:
    """When the student runs again, its last forward's maps are freed: peak memory is one graph."""
    method = subject.make()
    alive: list[weakref.ref[Tensor]] = []
    leftover: list[weakref.ref[Tensor]] = []

    def before(module: object, inputs: object) -> None:
        leftover.extend(ref for ref in alive if ref() is not None)
        alive.clear()

    def after(module: object, inputs: object, output: Any) -> None:
        alive.extend(weakref.ref(t) for t in (output.logits, output.fused, *output.features))

    method.student.register_forward_pre_hook(before)
    method.student.register_forward_hook(after)
    groups = method.losses(subject.batch(), ITERATIONS - 1)
    while (group := next(groups, None)) is not None:
        minimised(group).backward()
        del group
    require(
        not leftover,
        f"{len(leftover)} maps of a forward are alive when the student runs again: `del` them, or "
        "yield what they are for before",
    )


def memory_does_not_grow(subject: Subject) -> None:
    """After a step there are no more tensors, larger ones or longer graphs than before it."""
    count, measured = 6, []
    with passing_over_older_objects():
        method = subject.make(iterations=count)
        optimiser = optimiser_for(method)
        for step in range(count):
            train_step(method, optimiser, subject.batch(step), step)
            optimiser.zero_grad()
            if step in (count - 3, count - 1):  # past the half, every state is there
                measured.append(_alive())
    before, after = measured
    grown = [f"{before[k]} {k} became {after[k]}" for k in before if after[k] > before[k]]
    require(
        not grown,
        f"in two steps {', '.join(grown)}: something keeps each step's; detach it, or let go of it",
    )


def _alive() -> dict[str, int]:
    """What lives of tensors that are not passed over, and of the graphs that hang on them."""
    gc.collect()
    kinds = (Tensor, nn.Parameter)
    tensors = [o for o in gc.get_objects() if type(o) in kinds and o.device.type == "cpu"]
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    nodes: set[Any] = set()
    waiting = [t.grad_fn for t in tensors if t.grad_fn is not None]
    while waiting:
        node = waiting.pop()
        if node not in nodes:
            nodes.add(node)
            waiting += [parent for parent, _ in node.next_functions if parent is not None]
    return {
        "tensors": len(tensors),
        "bytes": sum(storages.values()),
        "operations of graphs": len(nodes),
    }
