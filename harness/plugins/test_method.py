"""`bench test-method`: the contract suite over one method, a line a check."""

from __future__ import annotations

import inspect
import os
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby

import torch
from rich.console import Console

from harness.config import catalogue
from harness.config.knobs import config_of
from harness.config.network_files import outline, pinned
from harness.config.overrides import apply_overrides
from harness.config.planning import find_method
from harness.errors import explained, in_one_line
from harness.training.precision import computing_threads
from methods.contract import Method
from methods.plug_in import exits_raise
from methods.testing import Case, ContractError, cases
from methods.testing.tools import NETWORKS


def check_method(
    name: str,
    networks: Sequence[str],
    overrides: Iterable[str],
    console: Console,
    timeout: float = 300.0,
) -> bool:
    """Run every check and print what it found; whether the method keeps to the contract.

    A check that takes more than `timeout` seconds ends the process, with exit code 1 and a line.
    BenchError for an unknown method, network or knob.
    """
    method = find_method(name)
    _, _, knobs = apply_overrides(
        [f"method.{override}" for override in overrides],
        catalogue.profile("tiny"),
        catalogue.scenario("gta2cs"),
        method.Config,
        {},
    )
    config_of(name, method.Config, knobs)
    chosen = [pinned(network) for network in networks or NETWORKS]
    for network in chosen:
        outline(network)
    with computing_threads(1, torch.device("cpu")):  # the networks are microscopic
        return _holds(name, cases(method, chosen, knobs), console, timeout)


def _holds(name: str, asked_of_it: Sequence[Case], console: Console, timeout: float) -> bool:
    """Print a line a check, why those that fail do, and a verdict; whether all hold."""
    start, verdicts = time.perf_counter(), []
    for check, group in groupby(asked_of_it, key=lambda case: case.name):
        asked = list(group)
        broken = {}
        for case in asked:
            with _ended_after(timeout, str(case), console):
                if reason := _reason(case):
                    broken[str(case)] = reason
        verdicts.append(not broken)
        words = check.replace("_", " ").replace("torchs", "torch's")
        _say(console, f"{'FAIL' if broken else 'PASS'}  {words} ({len(asked)})")
        for name_of_case, reason in broken.items():
            _say(console, f"      {name_of_case.removeprefix(check)} {reason}")
    seconds = time.perf_counter() - start
    failed = verdicts.count(False)
    outcome = f"breaks it in {failed} of {len(verdicts)} checks" if failed else "keeps to it"
    _say(console, f"the contract: {name} {outcome}, {len(verdicts)} checks in {seconds:.0f} s")
    return not failed


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def _ended_after(timeout: float, case: str, console: Console) -> Iterator[None]:
    """End the process where the block takes longer: nothing else stops what never returns."""

    def end() -> None:
        _say(console, f"FAIL  {case} has not ended in {timeout:g} s (--timeout): given up")
        sys.stdout.flush()
        os._exit(1)

    timer = threading.Timer(timeout, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _reason(case: Case) -> str:
    """Why the method does not stand a case, and where in its file it breaks; "" where it does."""
    method = case.subject.method
    try:
        with exits_raise():
            case.run()
    except ContractError as error:
        return in_one_line(error)
    except SystemExit as error:
        return f"it ends the process, exit code {error.code!r}{_line_of_method(error, method)}"
    except Exception as error:
        if os.environ.get("UDA_BENCH_DEBUG"):
            raise
        reason = explained(error) or f"{type(error).__name__}: {in_one_line(error)}"
        return f"{reason}{_line_of_method(error, method)}"
    return ""


def _line_of_method(error: BaseException, method: type[Method]) -> str:
    """The line of the method's own file that an error came through."""
    method_file = getattr(inspect.getmodule(method), "__file__", None)
    lines = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == method_file]
    if not lines:
        return ""
    told = f" (line {lines[-1].lineno} of {method_file})"
    if "target_label" in (lines[-1].line or "") and not method.needs_target_labels:
        told += "; target_label is None: a method is not given the target's labels"
    return told
