"""`--set KEY=VALUE`: what goes where, and what is refused."""

from __future__ import annotations

import pytest
from bench_cli import bench, refused

from harness.config import catalogue
from harness.config.data_set import DataSet
from harness.config.overrides import apply_overrides, check_knobs
from harness.config.schema import Profile, Scenario, Suite
from harness.errors import BenchError
from methods import registry


def changed(*overrides: str, method: str = "dualkd", knobs: dict | None = None):
    config = registry.load(method).Config
    profile, scenario = catalogue.profile("tiny"), catalogue.scenario("gta2cs")
    profile, scenario, knobs = apply_overrides(overrides, profile, scenario, config, knobs or {})
    return profile, scenario, config(**knobs)


@pytest.mark.parametrize("key", ["iterations", "profile.iterations"])
def test_a_key_reaches_the_profile(key):
    assert changed(f"{key}=7")[0].iterations == 7


@pytest.mark.parametrize("key", ["lambda_kd", "method.lambda_kd"])
def test_a_key_reaches_the_method(key):
    assert changed(f"{key}=0.25")[2].lambda_kd == 0.25


@pytest.mark.parametrize("key", ["convention", "scenario.convention"])
def test_a_key_reaches_the_scenario(key):
    assert changed(f"{key}=ignored16")[1].convention == "ignored16"


def test_nothing_else_changes():
    before = catalogue.profile("tiny")
    after, scenario, _ = changed("lr=0.5")
    assert after == before.model_copy(update={"lr": 0.5})
    assert scenario == catalogue.scenario("gta2cs")


def test_an_override_comes_before_the_profiles_knob():
    assert changed("ema_alpha=0.5", knobs={"ema_alpha": 0.99})[2].ema_alpha == 0.5


def test_the_last_of_equal_keys_counts():
    assert changed("lr=0.5", "profile.lr=0.25")[0].lr == 0.25


@pytest.mark.parametrize(
    ("text", "expected"),
    [("2,3,4", ("2", "3", "4")), ("fused", ("fused",)), ('["1", "fused"]', ("1", "fused"))],
)
def test_a_list_is_written_with_commas(text, expected):
    assert changed(f"stages={text}")[2].stages == expected


@pytest.mark.parametrize("text", ["48,64", "[48,64]", "48, 64"])
def test_a_pair_of_numbers_too(text):
    assert changed(f"crop={text}")[0].crop == (48, 64)


@pytest.mark.parametrize("text", ["[96,48]", "96,48"])
def test_an_entry_of_a_table_leaves_the_others(text):
    before = catalogue.profile("tiny").image_size
    after = changed(f"profile.image_size.cityscapes={text}")[0].image_size
    assert after == {**before, "cityscapes": (96, 48)}


def test_an_entry_of_a_table_is_set_or_refused_with_the_nearest_name():
    assert changed("image_size.camvid=[8,8]")[0].image_size["camvid"] == (8, 8)
    with pytest.raises(BenchError, match="did you mean 'cityscapes'"):
        changed("image_size.citscapes=[8,8]")


def test_a_table_that_was_set_to_none_has_no_entries():
    with pytest.raises(BenchError, match=r"image_size\.camvid: image_size is no table"):
        changed("image_size=5", "image_size.camvid=[8,8]")


@pytest.mark.parametrize("text", ["false", "False", "0"])
def test_truth_has_several_spellings(text):
    assert changed(f"normalise={text}")[2].normalise is False


def test_a_text_that_looks_like_a_number_stays_a_text():
    assert changed("scenario.title=2024")[1].title == "2024"


def test_none_is_null():
    assert changed("teacher=mini_l")[2].teacher == "mini_l"
    assert changed("teacher=null", knobs={"teacher": "mini_l"})[2].teacher is None


def test_spaces_around_key_and_value_do_not_matter():
    assert changed(" iterations = 7 ")[0].iterations == 7


@pytest.mark.parametrize(
    ("override", "near"),
    [
        ("iteration=7", "iterations"),
        ("lamda_kd=1", "lambda_kd"),
        ("method.lambda=1", "lambda_kd"),
        ("profile.learning_rate=1", None),
        ("profile.lambda_kd=1", None),
        ("elsewhere.lr=1", None),
        ("=7", None),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest(override, near):
    with pytest.raises(BenchError) as error:
        changed(override)
    message = str(error.value)
    assert override.split("=")[0] in message
    assert "\n" not in message
    if near:
        assert f"did you mean '{near}'" in message


def test_a_knob_of_another_method_is_unknown_to_this_one():
    with pytest.raises(BenchError, match="lambda_kd"):
        changed("lambda_kd=1", method="source_only")


@pytest.mark.parametrize(
    "key", ["name", "student", "profile.student", "knobs.ema_alpha", "target_knobs.acdc"]
)
def test_what_has_an_option_of_its_own_is_not_set_here(key):
    with pytest.raises(BenchError, match=r"unknown key.*(--student|--profile|--set)"):
        changed(f"{key}=x")


@pytest.mark.parametrize(
    "override",
    [
        "iterations=many",
        "iterations=0",
        "iterations=1.5",
        "lr=-1",
        "lr=nan",
        "crop=48",
        "crop=1,2,3",
        "precision=fp8",
        "stages=5",
        "distance=l3",
        "lambda_kd=-0.1",
        "image_size.gta5=96",
        "generated.sources=6",
        "generated.val=0",
        "lr.encoder=1",
        "stages.first=1",
        "convention=all20",
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_name(override):
    with pytest.raises(BenchError) as error:
        changed(override)
    message = str(error.value)
    assert message.startswith(f"--set {override.split('=')[0]}")
    assert "\n" not in message


def test_a_key_without_a_value_is_refused():
    with pytest.raises(BenchError, match="expected KEY=VALUE"):
        changed("iterations")


def test_knobs_of_a_target_are_checked_too():
    tables = {"acdc": {"mask_sauce": True}}
    profile = catalogue.profile("tiny").model_copy(update={"target_knobs": tables})
    with pytest.raises(BenchError, match=r"\[target_knobs.acdc\]: 'mask_sauce'.*'mask_source'"):
        check_knobs(profile)
    profile = profile.model_copy(update={"target_knobs": {"acdx": {}}})
    with pytest.raises(BenchError, match=r"\[target_knobs\]: 'acdx'; did you mean 'acdc'"):
        check_knobs(profile)


def with_knobs(**knobs):
    return catalogue.profile("tiny").model_copy(update={"knobs": knobs})


@pytest.mark.parametrize("profile", catalogue.names("profiles"))
def test_every_knob_of_our_profiles_belongs_to_a_method(profile):
    check_knobs(catalogue.profile(profile))


def test_a_knob_of_another_method_is_fine():
    check_knobs(with_knobs(lambda_kd=0.5, ema_alpha=0.9))


def test_a_misspelt_knob_of_a_profile_is_refused_with_the_nearest_name():
    profile, scenario = with_knobs(ema_alpah=0.9), catalogue.scenario("gta2cs")
    with pytest.raises(
        BenchError, match=r"'tiny', \[knobs\]: 'ema_alpah'; did you mean 'ema_alpha'"
    ):
        apply_overrides([], profile, scenario, registry.load("dacs").Config, {})


def test_a_knob_of_a_users_method_is_known_with_its_file(tmp_path):
    plugin = tmp_path / "mine.py"
    plugin.write_text(
        "from methods.contract import Method\n\n\nclass Mine(Method):\n"
        "    class Config(Method.Config):\n        depth_of_mine: int = 1\n"
    )
    profile = with_knobs(depth_of_mine=2)
    with pytest.raises(BenchError, match="--plugin FILE"):
        check_knobs(profile)
    registry.use_files([plugin])
    try:
        check_knobs(profile)
    finally:
        registry.use_files([])


def test_a_knob_may_belong_to_a_plug_in_that_cannot_be_imported(tmp_path, caplog):
    plugin = tmp_path / "mine.py"
    plugin.write_text("from methods.contract import Method\nimport not_there\n")
    registry.use_files([plugin])
    try:
        check_knobs(with_knobs(depth_of_mine=2))
    finally:
        registry.use_files([])
    assert "depth_of_mine, unless mine has, which cannot be imported" in caplog.text


def floats(model) -> list[str]:
    fields = model.model_fields.items()
    return [name for name, field in fields if field.annotation in (float, float | None)]


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e999", "NaN", "Infinity", "-Infinity"])
def test_a_number_that_is_not_finite_is_refused_for_every_field(value):
    for method in registry.names():
        for name in floats(registry.load(method).Config):
            with pytest.raises(BenchError, match=f"--set {name}: "):
                changed(f"{name}={value}", method=method)
    for name in floats(type(catalogue.profile("tiny"))):
        with pytest.raises(BenchError, match=f"--set {name}: "):
            changed(f"{name}={value}")
    with pytest.raises(BenchError, match="--set tta_scales: "):
        changed(f"tta_scales=1,{value}")


@pytest.mark.parametrize("line", ["lr = nan", "lr = inf", "power = -inf", "knobs = {a = [1, nan]}"])
def test_a_file_is_held_to_the_same(line, tmp_path):
    text = (catalogue.BENCHMARKS / "profiles/tiny.toml").read_text().replace("[knobs]", "[ignored]")
    name = line.partition(" ")[0]
    lines = [old for old in text.splitlines() if not old.startswith(f"{name} ")]
    (tmp_path / "own.toml").write_text("\n".join([line, *lines]))
    with pytest.raises(BenchError, match=rf"{name}.*finite"):
        catalogue.profile(str(tmp_path / "own.toml"))


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("lr=" + "[" * 100_000, "deeper than can be read"),
        ("iterations=" + "9" * 5000, "exceeded maximum size"),
        ("lr=" + "[" * 5000 + "]" * 5000, "deeper than can be read"),
        ("crop=99999999999999,9", "less than or equal to 32768"),
        ("threads=9999999999999", "less than or equal to 65536"),
        ("iterations=1e30", "iterations"),
    ],
)
def test_digits_and_depth_without_end_are_refused_in_a_short_line(override, reason):
    with pytest.raises(BenchError, match=reason) as refusal:
        changed(override, method="source_only")
    assert len(str(refusal.value)) < 400


def test_a_refused_key_or_value_is_answered_in_words_of_the_command_line():
    def said(*words: str) -> str:
        return refused(bench("run", "--method", "dacs", "--scenario", "gta2cs", *words))

    unknown = said("--set", "lrr=1")
    assert unknown.startswith("bench: --set lrr: unknown key 'lrr'; did you mean 'lr'")
    assert "`bench info NAME` lists the knobs" in unknown
    assert "--seed N" in said("--set", "seed=1")
    assert said("--set", "checkpoint_every=foo").endswith(
        "expected a number of steps (500), minutes (10min), or off"
    )


@pytest.mark.parametrize("model", [Profile, Scenario, Suite, DataSet])
def test_no_field_answers_with_a_regular_expression(model):
    def patterns(value):
        if isinstance(value, dict):
            return [*([value["pattern"]] if isinstance(value.get("pattern"), str) else []),
                    *(p for v in value.values() for p in patterns(v))]  # fmt: skip
        return [p for v in value for p in patterns(v)] if isinstance(value, list) else []

    assert not patterns(model.model_json_schema())
