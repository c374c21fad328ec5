"""Command lines that hypothesis makes up: `python tests/fuzz_command_line.py 10000` tries many.

The suite tries some hundreds (tests/harness/cli/test_fuzzed.py). Verbs that would work for long
are asked for a dry run, or have nothing to work on.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import entry_points
from itertools import chain
from pathlib import Path
from unittest import mock

from bench_cli import Outcome, bench
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from typer.main import get_command

import harness.cli.main
import harness.runs.estimate
from methods import registry

#: An exit of 1 is documented for these: something was found wrong, lost, or in breach.
MAY_EXIT_WITH_1 = {"sweep", "check", "doctor", "data", "test-method"}

NUMBERS = st.one_of(
    st.integers(-3, 3).map(str),
    st.sampled_from(
        [
            "1e999",
            "-1e999",
            "nan",
            "NaN",
            "Infinity",
            "1e-320",
            "0x10",
            "1_000",
            "\u0661",
            "\u00b2",
            "true",
        ]
    ),
    st.integers(1, 30).map(lambda digits: "9" * digits),
    st.sampled_from([1, 4299, 4301, 20_000]).map(lambda digits: "9" * digits),
    st.floats().map(str),
)
TEXTS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        ["", " ", "-", "--", "..", "/", "/dev/null", "~", "a=b", "null", "[]", "{}", '""', "[1,2]"]
    ),
    st.sampled_from(["[", '{"a":', "[[1],", "("]).flatmap(
        lambda part: st.sampled_from([1, 50, 5000, 100_000]).map(lambda depth: part * depth)
    ),
    # A command line holds no NUL, and bytes that are no UTF-8 as lone surrogates.
    st.text(st.characters(exclude_characters="\0", exclude_categories=[]), max_size=8),
).map(lambda text: text.replace("\0", ""))
VALUES = st.one_of(NUMBERS, TEXTS, st.lists(NUMBERS, max_size=4).map(",".join))


def mostly(known: list[str], share: int = 6) -> st.SearchStrategy[str]:
    """One of the known values, or any text in one of so many draws."""
    return st.integers(0, share).flatmap(lambda n: st.sampled_from(known) if n else TEXTS)


GOOD_METHODS = ["source_only", "oracle", "dacs", "daformer", "dualkd", "mic", "fda", "advent"]
METHODS = mostly(
    ["source_only", "oracle", "dacs", "dualkd", "dualkd+mic", "mic+mic", "fda+", "+", "hrda"]
)
SCENARIOS = mostly(["gta2cs", "gta2cs", "synthia2cs", "cs2acdc", "gta2camvid"])
PROFILES = mostly(["tiny", "tiny", "small", "paper", "paper.toml", "."])
NETWORKS = mostly(
    [
        *("test_mit", "test_deeplab", "test_mit", "mini_xs"),
        *("test_mit", "test_deeplab", "mini_xs", "hrda:test_mit", "hrda:hrda:test_mit"),
        *("timm:", "timm::", "timm:resnet10t:", "timm:resnet10t:x", "timm:resnet18.x"),
        *("timm:hf_hub:a/b", "timm:hf-hub:a/b", "timm:vit_", "hrda:", "hrda:timm:", "mmseg:"),
        *("mmseg:a.py", "mmseg:../x", "mmseg:x.py@0123456789", "mmseg:.", "timm:.", "timm:a.b"),
    ]
)
KEYS = mostly(
    [
        *("crop", "batch_size", "iterations", "lr", "power", "slide", "tta_scales", "threads"),
        *("workers", "image_size.gta5", "image_size.x", "image_size", "generated.source"),
        *("generated", "warmup", "precision", "compile", "data_store", "loss_stride", "name"),
        *("profile.crop", "method.", "scenario.source", "scenario.target", "convention", "seed"),
        *("teacher", "teacher_checkpoint", "init", "log_every", "flip", "student", "knobs.x"),
        *("source_augmentation", "weight_decay", "optimiser", "rcs_temperature", "alpha"),
        *("lambda_fd", "mask_ratio", "mask_block", "pseudo_threshold", "levels", "stages"),
    ],
    20,
)
#: Values that fit, now and then, so that what comes after parsing is reached.
FITTING = st.sampled_from(
    [
        *("crop=1,1", "crop=32,64", "crop=2,999", "batch_size=1", "batch_size=65536", "lr=0.1"),
        *("iterations=1", "iterations=1000000000", "power=-1e308", "threads=1", "warmup=0"),
        *("image_size.gta5=1,1", "image_size.cityscapes=[32768,32768]", "slide=1,1,1,1"),
        *("slide=null", "tta_scales=0.001", "tta_scales=16,16", "workers=65536", "loss_stride=99"),
        *("precision=bf16", "precision=fp16", "compile=default", "channels_last=true"),
        *("checkpointing=true", "optimiser=sgd", "source=synthia", "target=camvid", "flip=0"),
    ]
)
SETTINGS = st.one_of(FITTING, FITTING, st.tuples(KEYS, VALUES).map("=".join), TEXTS)
SEEDS = st.one_of(NUMBERS, TEXTS)


def options(**known: st.SearchStrategy[str]) -> st.SearchStrategy[list[str]]:
    """Some of these options, each with its value or, seldom, without."""
    one = st.one_of(
        [value.map(lambda v, n=name: [f"--{n}", v]) for name, value in known.items()]
        + [value.map(lambda v, n=name: [f"--{n}={v}"]) for name, value in known.items()]
        + [TEXTS.filter(lambda text: text.strip()).map(lambda text: [text])]
    )
    return st.lists(one, max_size=4).map(lambda parts: [word for part in parts for word in part])


def lines(folder: Path) -> st.SearchStrategy[list[str]]:
    """Command lines whose files and folders lie in `folder`."""
    paths = st.one_of(
        st.sampled_from([str(folder / name) for name in ("", "no", "file.json", "x.toml", "y.py")]),
        TEXTS.filter(lambda text: not text.startswith("-")),
    )
    sets = SETTINGS
    filters = options(scenario=SCENARIOS, profile=PROFILES, student=NETWORKS, suite=TEXTS)
    formats = st.sampled_from([[], ["--format", "json"], ["--format", "x"], ["--aggregate"]])
    asked = options(**{
        "method": METHODS, "scenario": SCENARIOS, "profile": PROFILES, "student": NETWORKS,
        "teacher": NETWORKS, "teacher-checkpoint": paths, "init": paths, "seed": SEEDS, "set": sets,
        "data-root": paths, "results": paths, "device": TEXTS, "plugin": paths,
    })  # fmt: skip
    small = [part for s in ("crop=32,64", "generated.val=1") for part in ("--set", s)]
    run = st.tuples(METHODS, SCENARIOS, asked).map(
        lambda parts: [
            *("run", "--method", parts[0], "--scenario", parts[1], "--profile", "tiny"),
            *("--student", "test_mit", *small, *parts[2], "--dry-run"),
        ]
    )
    fitting = st.lists(
        st.one_of(
            FITTING.map(lambda text: ["--set", text]),
            st.sampled_from(["test_deeplab", "hrda:test_mit"]).map(lambda n: ["--student", n]),
            st.integers(0, 2**64 - 1).map(lambda seed: ["--seed", str(seed)]),
        ),
        max_size=3,
    )
    good_run = st.tuples(st.sampled_from(GOOD_METHODS), fitting).map(
        lambda parts: [
            *("run", "--method", parts[0], "--scenario", "gta2cs", "--profile", "tiny"),
            *("--student", "test_mit", *small, *chain(*parts[1]), "--dry-run"),
        ]
    )
    suites = st.one_of(TEXTS, paths, st.just("quick"))
    sweep = st.tuples(
        suites, options(seeds=VALUES, profile=PROFILES, init=paths, set=sets, jobs=NUMBERS)
    ).map(lambda parts: ["sweep", parts[0], *parts[1], "--dry-run"])
    rest = st.one_of(
        st.tuples(TEXTS, TEXTS).map(list),
        options(help=TEXTS),
        st.tuples(st.just("list"), TEXTS, TEXTS).map(list),
        st.tuples(st.just("info"), st.one_of(METHODS, NETWORKS, PROFILES)).map(list),
        st.tuples(paths, filters, formats).map(lambda p: ["table", p[0], *p[1], *p[2]]),
        st.tuples(METHODS, METHODS, paths, filters).map(lambda p: ["compare", *p[:3], *p[3]]),
        st.tuples(paths, options(results=paths, against=TEXTS)).map(
            lambda p: ["check", "--baseline", str(folder / "no.json"), "--records", p[0], *p[1]]
        ),
        options(method=TEXTS, student=NETWORKS, cross=sets, at=NUMBERS, seconds=TEXTS).map(
            lambda words: ["speed", *words, "--rounds", "0"]
        ),
        TEXTS.map(lambda name: ["new-method", name, "--out", str(folder / "out")]),
        st.tuples(TEXTS, options(network=NETWORKS, set=sets)).map(
            lambda p: ["test-method", "x" + p[0], *p[1]]
        ),
        options(seed=SEEDS, profile=TEXTS).map(
            lambda words: ["data", "make", "--out", str(folder / "file.json"), *words]
        ),
        paths.map(lambda path: ["data", "verify", "--data-root", path + "/no"]),
        st.tuples(TEXTS, options(profile=PROFILES)).map(
            lambda p: ["data", "cache", "x" + p[0], *p[1], "--dry-run"]
        ),
        st.tuples(SCENARIOS, options(images=NUMBERS, seed=SEEDS)).map(
            lambda p: ["subset", "--scenario", p[0], "--out", str(folder / "subset"), *p[1]]
        ),
        st.tuples(paths, options(scenario=SCENARIOS, student=NETWORKS, set=sets)).map(
            lambda p: ["eval", "--checkpoint", p[0], *p[1]]
        ),
        st.tuples(paths, paths, options(size=VALUES, slide=VALUES, scales=VALUES)).map(
            lambda p: ["predict", p[0], "--checkpoint", p[1], "--out", str(folder / "out"), *p[2]]
        ),
        st.tuples(paths, options(student=NETWORKS, size=VALUES)).map(
            lambda p: ["export", "--checkpoint", p[0], "--out", str(folder / "out"), *p[1]]
        ),
    )
    return st.one_of(run, good_run, sweep, rest)


def complaint(words: list[str], outcome: Outcome) -> str:
    """What is wrong with how a command line ended; "" where it is 0, 1 as documented, or a line."""
    said = outcome.err.strip()
    if "Traceback" in outcome.out + outcome.err:
        return "a traceback"
    if re.search(r"--debug` shows more", said):
        return f"an error that nobody expected: {said[-300:]}"
    if outcome.code == 1 and MAY_EXIT_WITH_1.isdisjoint(words[:1]):
        return "exit code 1"
    if outcome.code not in (0, 1, 2):
        return f"exit code {outcome.code}"
    last = said.splitlines()[-1:] or [""]
    if outcome.code == 2 and not last[0].startswith("bench: "):
        return f"no line that says why: {said[-300:]!r}"
    if outcome.code == 2 and len(last[0]) > 2000 + sum(map(len, words)):
        return "a line without end"
    return ""


@contextmanager
def _prepared() -> Iterator[None]:
    """No step is timed; what each command line would make anew is made once."""
    with (
        mock.patch.object(harness.runs.estimate, "step_seconds", return_value=1.0),
        mock.patch.object(harness.cli.main, "app", get_command(harness.cli.main.app)),
        mock.patch.object(registry, "entry_points", cache(entry_points)),
    ):
        yield


def fuzz(
    examples: int, told: Callable[[list[str], Outcome], None] = lambda words, end: None
) -> list[str]:
    """Try so many command lines -> what is wrong with those that end otherwise than they should."""
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "file.json").write_text("{}")
        (folder / "x.toml").write_text("a = [")
        (folder / "y.py").write_text("raise SystemExit(0)")

        @settings(
            max_examples=examples, deadline=None, database=None, derandomize=examples < 1000,
            suppress_health_check=list(HealthCheck), phases=[Phase.generate],
        )  # fmt: skip
        @given(lines(folder))
        def try_one(words: list[str]) -> None:
            with mock.patch.dict(os.environ):  # --debug sets a variable
                outcome = bench(*words)
            told(words, outcome)
            if reason := complaint(words, outcome):
                wrong.append(f"bench {[word[:200] for word in words]!r}: {reason}")

        before = Path.cwd()
        os.chdir(folder)
        try:
            with _prepared():
                try_one()
        finally:
            os.chdir(before)
    return wrong


if __name__ == "__main__":
    codes: Counter[tuple[str, int]] = Counter()

    def count(words: list[str], outcome: Outcome) -> None:
        codes[(words[0] if words else "", outcome.code)] += 1
        if sum(codes.values()) % 500 == 0:
            print(sum(codes.values()), flush=True)

    problems = fuzz(int(sys.argv[1]), count)
    by_code: Counter[int] = Counter()
    for (_, code), times in codes.items():
        by_code[code] += times
    print(*problems, sep="\n")
    print(
        f"{sum(codes.values())} command lines, {len(problems)} wrong; by exit code {dict(by_code)}"
    )
