"""The suite: every check, with the networks and settings that it looks at a method with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

from methods.contract import Method
from methods.testing import learning, precision, repeating, talking
from methods.testing.tools import NETWORKS, Subject, variants_of


class Check(NamedTuple):
    """A function that raises where a method breaks the contract, and how often it is called."""

    function: Callable[[Subject], None]
    networks: bool = False  # with each network, else with the first
    variants: bool = False  # in each variant, else in `variant`
    variant: str = "defaults"
    applies: Callable[[type[Method]], bool] = lambda method: True


CHECKS = (
    Check(talking.it_says_what_it_is),
    Check(talking.unknown_knobs_are_refused),
    Check(talking.terms_are_named_finite_scalars, networks=True, variants=True),
    Check(talking.an_unlabelled_source_crop_stays_finite, variant="all terms"),
    Check(talking.any_crop_will_do, networks=True, variant="source phase"),
    Check(talking.its_networks_answer_at_any_size, networks=True),
    Check(talking.the_batch_stays_as_it_is, variants=True),
    Check(learning.gradients_reach_the_student_and_nothing_frozen, variants=True),
    Check(learning.a_frozen_teacher_stays_as_it_was_given, variants=True),
    Check(learning.param_groups_hold_what_learns_each_once, networks=True, variant="all terms"),
    Check(learning.a_group_teaches_the_student_or_its_critics, variants=True),
    Check(learning.every_term_teaches_someone, variants=True),
    Check(precision.its_gradients_are_the_same_in_bf16, variant="all terms"),
    Check(precision.its_gradients_are_the_same_in_fp16, variant="all terms"),
    Check(learning.the_head_learns_faster_by_the_factor),
    Check(
        learning.target_labels_change_nothing,
        variants=True,
        applies=lambda method: not method.needs_target_labels,
    ),
    Check(learning.it_looks_at_the_target, applies=lambda method: method.uses_target),
    Check(learning.it_works_without_a_target, applies=lambda method: not method.uses_target),
    Check(repeating.equal_seeds_give_equal_steps, variants=True),
    Check(repeating.its_draws_leave_torchs_generator_alone, variants=True),
    Check(repeating.the_state_dict_resumes_it_exactly, networks=True, variant="source phase"),
    Check(repeating.one_graph_is_alive_at_a_time, variants=True),
    Check(repeating.memory_does_not_grow, variants=True),
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
    variants = variants_of(method)
    return [
        Case(check, Subject(method, network, variant, knobs or {}))
        for check in CHECKS
        if check.applies(method)
        for network, variant in product(
            networks if check.networks else networks[:1],
            variants if check.variants else [check.variant],
        )
    ]
