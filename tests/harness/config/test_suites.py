"""The runs that a suite asks for, and their order."""

import pytest

from harness.cli.sweeps import _changed_suite
from harness.config import catalogue
from harness.config.schema import Suite
from harness.config.suites import requests
from harness.errors import BenchError


def suite(**values) -> Suite:
    usual = {
        "methods": ["source_only", "daformer"],
        "scenarios": ["gta2cs", "synthia2cs"],
        "seeds": [0],
    }
    return Suite(name="mine", question="?", **usual | values)


def listed(made: Suite) -> list[tuple]:
    return [(r.seed, r.scenario, r.method, *r.overrides) for r in requests(made)]


def test_a_method_runs_at_each_of_its_lengths_and_others_at_the_profiles():
    made = suite(lengths={"source_only": [1, 2, 4]}, scenarios=["gta2cs"])
    assert listed(made) == [
        (0, "gta2cs", "source_only"),
        (0, "gta2cs", "source_only", "length=2"),
        (0, "gta2cs", "source_only", "length=4"),
        (0, "gta2cs", "daformer"),
    ]


def test_a_sweep_that_ends_early_has_compared_all_methods_on_the_first_seeds():
    made = suite(seeds=[0, 1], more_seeds={"daformer": [2]})
    assert [run[:3] for run in listed(made)] == [
        *((seed, scenario, method) for seed in (0, 1) for scenario in made.scenarios
          for method in made.methods),
        (2, "gta2cs", "daformer"),
        (2, "synthia2cs", "daformer"),
    ]  # fmt: skip


@pytest.mark.parametrize("table", ["lengths", "more_seeds"])
def test_lengths_and_seeds_of_a_method_that_it_does_not_run_are_refused(table):
    with pytest.raises(BenchError, match=rf"\[{table}\]: daforme found, one of its methods exp"):
        requests(suite(**{table: {"daforme": [1]}}))


def test_seeds_of_the_command_line_stand_instead_of_all_of_the_suites():
    made = suite(more_seeds={"daformer": [2]})
    changed = _changed_suite(made, None, seeds=["7"])
    assert {run[0] for run in listed(changed)} == {7}


@pytest.mark.parametrize("key", ["methods", "scenarios", "seeds"])
def test_a_suite_without_runs_is_refused(key, tmp_path):
    """A sweep of it had nothing to do, said that it was done, and ended with 0."""
    lists = {"methods": ["dacs"], "scenarios": ["gta2cs"], "seeds": [0]} | {key: []}
    file = tmp_path / "mine.toml"
    file.write_text('question = "?"\n' + "".join(f"{k} = {v}\n" for k, v in lists.items()))
    with pytest.raises(BenchError, match=rf"{key} = \[\]: List should have at least 1 item"):
        catalogue.suite(str(file))


def test_a_misspelt_key_is_answered_with_the_nearest(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('question = "?"\nmethds = ["dacs"]\nscenarios = ["gta2cs"]\n')
    with pytest.raises(BenchError, match=r"methds = .*: unknown key, did you mean 'methods'\?"):
        catalogue.suite(str(file))
