"""`bench test-method`: the contract suite over one method, a line a check."""

from __future__ import annotations

import inspect
import os
import time
import traceback
from collections.abc import Iterable, Sequence
from itertools import groupby

import torch
from rich.console import Console

from harness.config import catalogue
from harness.config.network_files import outline, pinned
from harness.config.overrides import apply_overrides
from harness.config.planning import find_method
from harness.errors import in_one_line
from methods.contract import Method
from methods.testing import Case, ContractError, cases
from methods.testing.tools import NETWORKS


def check_method(
    name: str, networks: Sequence[str], overrides: Iterable[str], console: Console
) -> bool:
    """Run every check and print what it found; whether the method keeps to the contract.

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
    chosen = [pinned(network) for network in networks or NETWORKS]
    for network in chosen:
        outline(network)
    torch.set_num_threads(1)  # the networks are microscopic
    start, verdicts = time.perf_counter(), []
    for check, group in groupby(cases(method, chosen, knobs), key=lambda case: case.name):
        asked = list(group)
        broken = {str(case): reason for case in asked if (reason := _reason(case, method))}
        verdicts.append(not broken)
        words = check.replace("_", " ").replace("torchs", "torch's")
        _say(console, f"{'FAIL' if broken else 'PASS'}  {words} ({len(asked)})")
        for case, reason in broken.items():
            _say(console, f"      {case.removeprefix(check)} {reason}")
    seconds = time.perf_counter() - start
    failed = verdicts.count(False)
    outcome = f"breaks it in {failed} of {len(verdicts)} checks" if failed else "keeps to it"
    _say(console, f"the contract: {name} {outcome}, {len(verdicts)} checks in {seconds:.0f} s")
    return not failed


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def _reason(case: Case, method: type[Method]) -> str:
    """Why the method does not stand a case, and where in its file it breaks; "" where it does."""
    try:
        case.run()
    except ContractError as error:
        return in_one_line(error)
    except Exception as error:
        if os.environ.get("UDA_BENCH_DEBUG"):
            raise
        return f"{type(error).__name__}: {in_one_line(error)}{_line_of_method(error, method)}"
    return ""


def _line_of_method(error: Exception, method: type[Method]) -> str:
    """The line of the method's own file that an error came through."""
    method_file = getattr(inspect.getmodule(method), "__file__", None)
    lines = [
        f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == method_file
    ]
    return f" (line {lines[-1]} of {method_file})" if lines else ""
