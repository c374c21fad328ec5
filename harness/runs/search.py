"""A search for knobs: a fixed number of trials a method, asked of Optuna and told it in turn.

The records are all that is kept of a search. Its sampler draws the same values again where it is
told the same figures, so the same command finds the trials that are done and goes on after them.
"""

from __future__ import annotations

import importlib
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from math import isnan
from typing import Any

from harness.analysis.trials import Trial, best
from harness.config.planning import Plan, Request, find_method
from harness.config.schema import Profile, Scenario
from harness.config.search_space import Space, spelled
from harness.errors import CTRL_C, GOES_ON, BenchError, Interrupted
from harness.records import store
from harness.records.schema import Record, SearchTrial, TrialRule
from harness.report.cells import number
from harness.runs.launchers import Task, carry_out
from harness.runs.workplace import Workplace, holds_what_is_asked, is_current, record_of
from methods import registry

#: Trials, the first with the defaults, before the sampler looks at what came of them.
AT_RANDOM = 5


@dataclass(frozen=True)
class Budget:
    """What is the same for every method of a search."""

    space: Space
    rule: TrialRule
    trials: int
    seeds: tuple[int, ...]
    held_out: tuple[int, ...] = ()  # seeds that no trial has seen
    sampler_seed: int = 0

    @property
    def runs(self) -> int:
        """Of each method."""
        return self.trials * len(self.seeds) + len(self.held_out)


@dataclass
class MethodSearch:
    """One method's share of a search."""

    request: Request
    space: Space  # the knobs that it has
    budget: Budget
    plan: Callable[[Request], Plan]
    trials: list[Trial] = field(default_factory=list)
    held_out: list[Record] = field(default_factory=list)

    def __post_init__(self) -> None:
        optuna = sampling_library()
        sampler = optuna.samplers.TPESampler(
            seed=self.budget.sampler_seed, n_startup_trials=AT_RANDOM
        )
        self.study = optuna.create_study(direction="maximize", sampler=sampler)
        self.sampler = f"TPE of Optuna {optuna.__version__}, seed {self.budget.sampler_seed}"
        self.study.enqueue_trial(self._defaults())

    def _defaults(self) -> dict[str, Any]:
        """The first trial's knobs: as the request has them, where their ranges hold that."""
        spec = self.plan(self.request).spec
        values = {**dict(spec.profile), **spec.method_config}
        return {n: values[n] for n, k in self.space.items() if n in values and k.holds(values[n])}

    def next_trial(self, workplace: Workplace, run: Runner) -> Trial:
        """Ask for knobs, run them on every seed, tell what came of it."""
        optuna = sampling_library()
        asked = self.study.ask({name: _distribution(knob) for name, knob in self.space.items()})
        knobs = {name: self.space[name].rounded(asked.params[name]) for name in self.space}
        count = len(self.trials) + 1
        budget, say = self.budget, workplace.report.say
        said = f"{self.request.method}, trial {count} of {budget.trials}"
        say(f"{said}: {overrides(knobs)}")
        runs = self._run(knobs, budget.seeds, count, workplace, run)
        trial = Trial(count, knobs, runs, len(budget.seeds))
        merit = trial.merit(budget.rule)
        if isnan(merit) and len(runs) == len(budget.seeds) and budget.rule == "agreement":
            raise BenchError(
                f"--by agreement: {self.request.method} has no EMA teacher to agree with; expected "
                "entropy, infomax, snd or oracle."
            )
        if isnan(merit):
            self.study.tell(asked, state=optuna.trial.TrialState.FAIL)
        else:
            self.study.tell(asked, merit)
        self.trials.append(trial)
        ahead = best(self.trials, budget.rule)
        say(
            f"{said}: {budget.rule} {number(trial.figure(budget.rule))}"
            + (f"; the best is trial {ahead.number}" if ahead else "; none has a figure yet")
        )
        return trial

    def try_held_out(self, workplace: Workplace, run: Runner) -> None:
        """Run the best trial's knobs on seeds that no trial has seen."""
        chosen = best(self.trials, self.budget.rule)
        if chosen and self.budget.held_out:
            seeds = ", ".join(map(str, self.budget.held_out))
            workplace.report.say(f"{self.request.method}, held-out seeds {seeds}")
            self.held_out = self._run(chosen.knobs, self.budget.held_out, None, workplace, run)

    def _run(
        self,
        knobs: dict[str, Any],
        seeds: Sequence[int],
        trial: int | None,
        workplace: Workplace,
        run: Runner,
    ) -> list[Record]:
        """The done runs of a setting, each record saying that this search made it."""
        budget, runs = self.budget, []
        note = SearchTrial(
            rule=budget.rule,
            space={name: str(knob) for name, knob in self.space.items()},
            trial=trial,
            trials=budget.trials,
            seeds=list(budget.seeds),
            sampler=self.sampler,
        )
        for seed in seeds:
            plan = self.plan(with_knobs(self.request, knobs, seed))
            if record := run(scored_by(plan, budget.rule), workplace):
                runs.append(_noted(record, note, workplace))
        return runs


#: Carries out a plan, or finds it done; None where it failed, which it has said.
Runner = Callable[[Plan, Workplace], Record | None]


def search(
    searches: Sequence[MethodSearch],
    workplace: Workplace,
    run: Runner | None = None,
    log: Sequence[str] = (),
) -> None:
    """Carry out all trials, each method's first before each one's second, then held-out seeds.

    `log`: the programs that watch each run, by the names of `harness.report.loggers`.
    """
    budget, run = searches[0].budget, run or partial(run_apart, log=log)
    for _ in range(budget.trials):
        for each in searches:
            each.next_trial(workplace, run)
    for each in searches:
        each.try_held_out(workplace, run)


def method_searches(
    requests: Sequence[Request], budget: Budget, plan: Callable[[Request], Plan], where: str
) -> list[MethodSearch]:
    """A search a method; one takes the knobs that it has, all those of the profile among them.

    `where` is the file of the knobs. BenchError for a knob that none has, a value that does not
    fit, and a method without any, before anything runs.
    """
    searches = []
    for request in requests:
        space = {n: k for n, k in budget.space.items() if not _of_others(n, request.method)}
        if not space:
            raise BenchError(
                f"{where}: none of its knobs is one of {request.method}: "
                f"{', '.join(budget.space)}; expected one, such as lr."
            )
        _check_knobs(request, space, budget.seeds[0], plan, where)
        searches.append(MethodSearch(request, space, budget, plan))
    _check_rule(searches)
    return searches


def _check_knobs(
    request: Request, space: Space, seed: int, plan: Callable[[Request], Plan], where: str
) -> None:
    """BenchError for a knob that is set as well, that none has, or whose values do not fit."""
    plan(request)  # what is wrong without any knob of the file is no fault of the file
    settled = {override.partition("=")[0].strip() for override in request.overrides}
    for name, knob in space.items():
        if name in settled:
            raise BenchError(
                f"--set {name}: {where} searches it; expected it in one of the two: --set gives a "
                "knob the same value in every run."
            )
        for value in knob.samples:
            try:
                plan(with_knobs(request, {name: value}, seed))
            except BenchError as error:
                raise BenchError(f"{where}, {str(error).removeprefix('--set ')}") from error


def _of_others(knob: str, method: str) -> bool:
    """Whether other methods alone have that knob."""
    fields = (find_method(method).Config, Profile, Scenario)
    if "." in knob or any(knob in model.model_fields for model in fields):
        return False
    for other in registry.names():
        with suppress(BenchError):  # a plug-in that cannot be imported
            if knob in find_method(other).Config.model_fields:
                return True
    return False


def _check_rule(searches: Sequence[MethodSearch]) -> None:
    """BenchError where the rule can have no figure of a run."""
    budget = searches[0].budget
    for each in searches:
        plan = each.plan(each.request)
        if budget.rule == "oracle" and not plan.spec.target.val_images:
            raise BenchError(
                f"--by oracle: {plan.spec.scenario.name} has a target without labels; expected "
                "entropy, infomax, snd or agreement."
            )


def with_knobs(request: Request, knobs: dict[str, Any], seed: int) -> Request:
    """The request of one run of a trial."""
    settings = tuple(f"{name}={spelled(value)}" for name, value in knobs.items())
    return request.model_copy(update={"seed": seed, "overrides": (*request.overrides, *settings)})


def scored_by(plan: Plan, rule: str) -> Plan:
    """The same run, scored without labels after its last step where the rule looks at that."""
    profile = plan.spec.profile
    if rule == "oracle" or profile.score_every or not plan.spec.target.val_images:
        return plan
    profile = profile.model_copy(update={"score_every": profile.iterations})
    return replace(plan, spec=plan.spec.model_copy(update={"profile": profile}))


def overrides(knobs: dict[str, Any]) -> str:
    """The knobs as the command line takes them."""
    return " ".join(f"--set {name}={spelled(value)}" for name, value in knobs.items())


def run_apart(plan: Plan, workplace: Workplace, log: Sequence[str] = ()) -> Record | None:
    """The record of a plan: found done, or carried out in a process of its own."""
    record = record_of(plan, workplace)
    kept = record and workplace.keep_other_code and holds_what_is_asked(record, plan)
    if record and (kept or is_current(record, plan, workplace)):
        workplace.report.say(f"run {record.run_id} is done ({record.created})")
        return record
    report = workplace.report
    task = Task.of(
        plan,
        workplace.results,
        device=str(workplace.device),
        keep_other_code=workplace.keep_other_code,
        log=list(log),
    )
    terminal = report.console.is_terminal
    code = carry_out(task, report.say, inherit=terminal, stop=workplace.stop)
    if code in (GOES_ON, CTRL_C):  # its process alone was told to stop
        raise Interrupted(signal.SIGINT if code == CTRL_C else signal.SIGTERM)
    return None if code else record_of(plan, workplace)


def _noted(record: Record, note: SearchTrial, workplace: Workplace) -> Record:
    """The record with the search in it, written where it was not in it before."""
    if note in record.searches:
        return record
    alike = {"trials": note.trials}  # a search that went on with more trials is the same one
    others = [kept for kept in record.searches if kept.model_copy(update=alike) != note]
    noted = record.model_copy(update={"searches": [*others, note]})
    store.write(noted, workplace.results / "records")
    return noted


def sampling_library() -> Any:
    """Optuna, told to be quiet. BenchError where it is not installed."""
    if find_spec("optuna") is None:
        raise BenchError(
            "bench search: the package optuna is not installed; expected the extra `search`: "
            "pip install 'uda-bench[search]'."
        )
    optuna = importlib.import_module("optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _distribution(knob: Any) -> Any:
    distributions = sampling_library().distributions
    if knob.choices:
        return distributions.CategoricalDistribution(knob.choices)
    low, high = knob.ends
    made = distributions.IntDistribution if knob.whole else distributions.FloatDistribution
    return made(low, high, log=knob.log)
