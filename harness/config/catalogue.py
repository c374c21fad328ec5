"""Scenarios, profiles, suites, class sets and data sets by name, from benchmarks/*.toml."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harness.config.class_set import ClassSet
from harness.config.data_set import DataSet
from harness.config.schema import Profile, Scenario, Suite
from harness.errors import BenchError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from harness.errors import explain, in_one_line, unknown
from harness.files import read_text

#: The class set of scenarios that name none, and of weights that say nothing of their classes.
DEFAULT_CLASSES = "cityscapes19"
#: The command that lists the names of a kind; of the others an error lists them itself.
LISTED_BY = {
    "scenarios": "bench list scenarios",
    "profiles": "bench list profiles",
    "suites": "bench list suites",
}
#: What one of a folder is called in messages.
SINGULAR = {"classes": "class set", "datasets": "data set"}
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
#: The user's own data sets that this process has been told of, by name.
_OWN_DATA_SETS: dict[str, DataSet] = {}


def names(kind: str) -> list[str]:
    """Names of that kind: scenarios, profiles, suites, classes or datasets."""
    return sorted(path.stem for path in (BENCHMARKS / kind).glob("*.toml"))


def read(kind: str, name: str) -> dict[str, Any]:
    """The TOML of that name, or at that path. BenchError when there is none or it is broken."""
    path = BENCHMARKS / kind / f"{name}.toml"
    if not path.is_file():
        path = Path(name)
        if path.suffix != ".toml" or not path.is_file():
            raise _missing(kind, name)
    return {"name": path.stem} | read_toml(path)


def read_toml(path: Path) -> dict[str, Any]:
    """What a TOML file holds. BenchError for one that cannot be read, or is none."""
    try:
        text = read_text(path)
    except ValueError as error:
        raise BenchError(f"{path} {error}.") from error
    except OSError as error:
        raise BenchError(f"{path}: {error.strerror}; expected a readable TOML file.") from error
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise BenchError(f"{path} is not valid TOML: {in_one_line(error)}.") from error


def _missing(kind: str, name: str) -> BenchError:
    """The error for a file that is not there, or for a name that is none."""
    what, path = SINGULAR.get(kind, kind.removesuffix("s")), Path(name)
    if path.suffix == ".toml" or len(path.parts) > 1:
        found = "a folder" if path.is_dir() else "no such file"
        if path.is_file():
            found = "not called .toml"
        if kind == "datasets":  # those that are shipped have no file to name
            known = "as `bench data new` writes it"
        elif command := LISTED_BY.get(kind):
            known = f"or a name that `{command}` prints"
        else:
            known = f"or one of {', '.join(names(kind))}"
        return BenchError(f"{name}: {found}; expected the TOML file of a {what}, {known}.")
    return unknown(what, name, names(kind), LISTED_BY.get(kind, ""))


def scenario(name: str) -> Scenario:
    values = read("scenarios", name)
    if name.endswith(".toml"):
        values = _with_own_files(values, Path(name).parent)
    made: Scenario = _made(Scenario, values, "scenarios", name)
    use_data_sets(made.datasets)
    for data_set_name in made.sets:
        if data_set_name not in data_set_names():
            raise unknown("data set", data_set_name, data_set_names())
    check_convention(made)
    return made


def _with_own_files(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A scenario's values with the files that it names, seen from its own, in their places."""
    values = {"title": values["name"], **values}
    own: dict[str, DataSet] = {}
    for key in ("source", "target", "scored"):
        if isinstance(value := values.get(key), str) and value.endswith(".toml"):
            described = own_data_set(folder / value)
            if own.setdefault(described.name, described) != described:
                raise BenchError(
                    f"{folder / value}: two data sets of this scenario are called "
                    f"{described.name}; expected a name for each: rename one of the files."
                )
            values[key] = described.name
    classes = values.get("classes")
    if isinstance(classes, str) and classes.endswith(".toml"):
        values["classes"] = _validated(ClassSet, "classes", str(folder / classes))
    elif isinstance(classes, list):
        values["classes"] = {"name": values["name"], "names": classes}
    elif classes is None and (source := own.get(values.get("source", ""))):
        if not source.has_labels:
            raise BenchError(
                f"scenario {values['name']}: its source {source.name} has no labels; expected some "
                f"to learn from: bench data new {source.name} --images DIR --labels DIR."
            )
        values["classes"] = source.classes or {
            "name": source.name,
            "names": source.class_names(),
        }
    return values | {"datasets": own}


def own_data_set(path: Path) -> DataSet:
    """A data set that a file of the user's describes; its folder is seen from that file.

    BenchError where the file is none, or has the name of a shipped set.
    """
    described: DataSet = _validated(DataSet, "datasets", str(path))
    if described.name in names("datasets"):
        raise BenchError(
            f"{path}: a data set called {described.name} is shipped; expected another name: rename "
            "the file."
        )
    folder = (path.parent / (described.folder or ".")).resolve()
    return described.model_copy(update={"folder": str(folder)})


def found_again(recorded: Scenario) -> Scenario:
    """A record's scenario with the folders of the user's own sets, of which a record holds none.

    They are those of the file NAME.toml in the current folder, where it describes the same sets;
    else the scenario is as it was.
    """
    if not recorded.datasets or not Path(f"{recorded.name}.toml").is_file():
        return recorded
    try:
        there = scenario(f"{recorded.name}.toml").datasets
    except BenchError:
        return recorded  # edited since, or another's file of that name
    placeless = {name: s.model_copy(update={"folder": None}) for name, s in there.items()}
    same = placeless == recorded.datasets
    return recorded.model_copy(update={"datasets": there}) if same else recorded


def use_data_sets(described: dict[str, DataSet]) -> None:
    """Know the user's own data sets by their names from now on, in place of those before."""
    _OWN_DATA_SETS.update(described)


def profile(name: str) -> Profile:
    return _validated(Profile, "profiles", name)


def suite(name: str) -> Suite:
    return _validated(Suite, "suites", name)


@cache
def class_set(name: str) -> ClassSet:
    return _validated(ClassSet, "classes", name)


@cache
def _shipped_data_set(name: str) -> DataSet:
    return _validated(DataSet, "datasets", name)


def data_set(name: str) -> DataSet:
    """A data set by its name: the user's own that is in use, else a shipped one."""
    return _OWN_DATA_SETS.get(name) or _shipped_data_set(name)


def knobs_for(profile: Profile, target: str) -> dict[str, Any]:
    """A profile's knobs for runs that adapt to that data set: without a hood all rows count."""
    rows = {} if data_set(target).hood else {"ignore_top": 0, "ignore_bottom": 0}
    return {**profile.knobs, **rows, **profile.target_knobs.get(target, {})}


def data_set_names() -> list[str]:
    """Every data set that is known by a name: shipped, or the user's own that is in use."""
    return [*names("datasets"), *_OWN_DATA_SETS]


def classes_of(scenario: Scenario) -> ClassSet:
    """The class set of a scenario, by its name or as it holds it."""
    classes = scenario.classes
    return class_set(classes) if isinstance(classes, str) else classes


def check_convention(scenario: Scenario) -> None:
    """BenchError where its class set is not scored so."""
    ways = classes_of(scenario).ways_to_score
    if scenario.convention not in ways:
        raise unknown(f"convention in scenario {scenario.name}:", scenario.convention, ways)


def _validated(model: Any, kind: str, name: str) -> Any:
    return _made(model, read(kind, name), kind, name)


def _made(model: Any, values: dict[str, Any], kind: str, name: str) -> Any:
    try:
        return model(**values)
    except ValidationError as error:
        where = name if name.endswith(".toml") else f"{kind}/{name}.toml"
        raise BenchError(f"{where}: {explain(error, model.model_fields)}.") from error
