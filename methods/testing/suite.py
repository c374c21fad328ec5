"""The suite: every check, with the networks and settings that it looks at a method with."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

from methods.contract import Method
from methods.testing import blocking, learning, precision, repeating, talking
from methods.testing.tools import NETWORKS, VARIANTS, Subject, variants_of

#: Where the start of the schedule matters, and at its end, which "source phase" does not change.
EVERY = tuple(VARIANTS)
AT_THE_END = ("defaults", "all terms")


class Check(NamedTuple):
    """A function that raises where a method breaks the contract, and how often it is called."""

    function: Callable[[Subject], None]
    networks: bool = False  # with each network, else with the first
    variants: tuple[str, ...] = ("defaults",)  # of several, those that differ for the method
    applies: Callable[[type[Method]], bool] = lambda method: True


def overrides(hook: str) -> Callable[[type[Method]], bool]:
    """Whether a method has a hook of its own, be it a function or a class method."""

    def has(method: type[Method]) -> bool:
        return inspect.getattr_static(method, hook) is not inspect.getattr_static(Method, hook)

    return has


CHECKS = (
    Check(talking.it_says_what_it_is),
    Check(talking.unknown_knobs_are_refused),
    Check(talking.terms_are_named_finite_scalars, networks=True, variants=EVERY),
    Check(talking.an_unlabelled_source_crop_stays_finite, variants=("all terms",)),
    Check(talking.any_crop_will_do, networks=True, variants=("source phase",)),
    Check(talking.any_number_of_classes_will_do, variants=("all terms",)),
    Check(talking.its_networks_answer_at_any_size, networks=True),
    Check(talking.its_networks_are_built_again_by_their_names, variants=("all terms",)),
    Check(talking.the_batch_stays_as_it_is, variants=AT_THE_END),
    Check(learning.gradients_reach_the_student_and_nothing_frozen, variants=AT_THE_END),
    Check(learning.its_modules_are_registered, variants=("all terms",)),
    Check(learning.a_further_network_only_teaches, variants=("all terms",)),
    Check(learning.the_student_stays_in_training_mode, variants=("all terms",)),
    Check(
        learning.a_frozen_teacher_stays_as_it_was_given,
        variants=AT_THE_END,
        applies=overrides("frozen_teachers"),
    ),
    Check(learning.param_groups_hold_what_learns_each_once, variants=("all terms",)),
    Check(
        learning.a_group_teaches_the_student_or_its_critics,
        variants=AT_THE_END,
        applies=overrides("critic_groups"),
    ),
    Check(learning.every_term_teaches_someone, variants=AT_THE_END),
    Check(learning.the_harness_alone_backpropagates, variants=AT_THE_END),
    Check(precision.its_gradients_are_the_same_in_bf16, variants=("all terms",)),
    Check(precision.its_gradients_are_the_same_in_fp16, variants=("all terms",)),
    Check(learning.the_head_learns_faster_by_the_factor),
    Check(
        learning.target_labels_change_nothing,
        variants=EVERY,
        applies=lambda method: not method.needs_target_labels,
    ),
    Check(learning.it_looks_at_the_target, applies=lambda method: method.uses_target),
    Check(learning.it_works_without_a_target, applies=lambda method: not method.uses_target),
    Check(learning.it_looks_at_the_source, applies=lambda method: method.uses_source),
    Check(learning.it_works_without_a_source, applies=lambda method: not method.uses_source),
    Check(repeating.equal_seeds_give_equal_steps, variants=("all terms",)),
    Check(repeating.its_draws_leave_torchs_generator_alone, variants=AT_THE_END),
    Check(repeating.the_state_dict_resumes_it_exactly, networks=True, variants=("source phase",)),
    Check(repeating.one_graph_is_alive_at_a_time, variants=AT_THE_END),
    Check(repeating.memory_does_not_grow, variants=("all terms",)),
    Check(blocking.it_seldom_waits_for_a_gpu, variants=("all terms",)),
)


@dataclass(frozen=True)
class Case:
    """One check of one method with one network in one variant."""

    check: Check
    subject: Subject

    @property
    def name(self) -> str:
        return self.check.function.__name__

    def __str__(self) -> str:
        return f"{self.name}[{self.subject.network}, {self.subject.variant}]"

    def run(self) -> None:
        """Raise ContractError, or what the method itself raises, where it breaks the contract."""
        self.check.function(self.subject)


def cases(
    method: type[Method],
    networks: Sequence[str] = NETWORKS,
    knobs: Mapping[str, Any] | None = None,
) -> list[Case]:
    """Everything that the suite asks of a method, check by check.

    `knobs` set its Config beside the suite's own variants, which come on top.
    """
    differing = variants_of(method)
    return [
        Case(check, Subject(method, network, variant, knobs or {}))
        for check in CHECKS
        if check.applies(method)
        for network, variant in product(
            networks if check.networks else networks[:1],
            [v for v in check.variants if v in differing or len(check.variants) == 1],
        )
    ]
