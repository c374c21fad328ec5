"""From a request to a plan: defaults, frozen teachers, and errors before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from real_formats import write_camvid, write_cityscapes, write_gta5

from harness.config import catalogue
from harness.config.planning import Request, resolve
from harness.config.replanning import replan
from harness.config.schema import RunSpec
from harness.errors import BenchError, DataError
from harness.files import file_hash
from methods import registry
from methods.networks import zoo
from methods.networks.weights import save_weights

TINY = {"profile": "tiny"}


def plan(method: str = "dualkd", scenario: str = "gta2cs", root: Path | None = None, **options):
    return resolve(Request(method=method, scenario=scenario, **options), root)


def start_weights(path: Path, *, network: str = "mini_s", seed: int = 0) -> Path:
    torch.manual_seed(seed)
    save_weights(zoo.build(network), path, {})
    return path


def test_the_default_profile_is_tiny_on_generated_data():
    spec = plan("daformer").spec
    assert spec.profile.name == "tiny"
    assert spec.source.generated
    assert spec.target.generated


def a_gpu(monkeypatch, there: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)


@pytest.mark.parametrize("gpu", [True, False])
def test_the_default_profile_is_not_tiny_only_with_both_sets_real(tmp_path, monkeypatch, gpu):
    a_gpu(monkeypatch, gpu)
    write_cityscapes(tmp_path, 2, 1)
    with pytest.raises(DataError, match="gta5"):
        plan("daformer", root=tmp_path)
    write_gta5(tmp_path, 2)
    planned = plan("daformer", root=tmp_path)
    assert planned.spec.profile.name == ("paper" if gpu else "photo")
    assert planned.profile_note.startswith(f"profile {planned.spec.profile.name}, as none was nam")
    assert planned.sources.notice is None
    assert (planned.spec.source.generated, planned.spec.target.generated) == (False, False)
    assert planned.spec.source.train_images == 2
    assert planned.spec.target.val_images == 1


def test_weeks_on_a_cpu_are_for_those_who_ask_for_them(tmp_path, monkeypatch):
    a_gpu(monkeypatch, False)
    write_cityscapes(tmp_path, 2, 1)
    write_gta5(tmp_path, 2)
    named = plan("daformer", root=tmp_path, profile="paper")
    assert (named.spec.profile.name, named.profile_note) == ("paper", "")
    # Weights of the literature's network do not fit the profile that was taken: that is said.
    weights = start_weights(tmp_path / "b5.pth")
    with pytest.raises(BenchError, match=r"profile photo, as none was named.*--profile names"):
        plan("daformer", root=tmp_path, init=str(weights))
    a_gpu(monkeypatch, True)
    asked = resolve(Request(method="daformer", scenario="gta2cs"), tmp_path, device="cpu")
    assert asked.spec.profile.name == "photo"


def test_camvid_alone_gets_a_generated_source_and_the_tiny_profile(tmp_path):
    write_camvid(tmp_path, 2)
    planned = plan("daformer", "gta2camvid", tmp_path)
    assert planned.spec.profile.name == "tiny"
    assert (planned.spec.source.generated, planned.spec.target.generated) == (True, False)
    assert "source is generated data" in planned.sources.notice


def test_camvid_needs_a_root_and_says_so():
    with pytest.raises(DataError, match=r"camvid.*--data-root"):
        plan("daformer", "gta2camvid")


def test_a_root_without_the_data_names_what_is_missing(tmp_path):
    with pytest.raises(DataError, match=r"gta5.*images/\*\.png"):
        plan("daformer", root=tmp_path)


@pytest.mark.parametrize(
    ("options", "near"),
    [
        ({"method": "dafomer"}, "'daformer'"),
        ({"scenario": "gta2city"}, "'gta2cs'"),
        ({"profile": "tinny"}, "'tiny'"),
        ({"student": "mini_x"}, "'mini_xs'"),
        ({"teacher": "mini_1"}, "'mini_"),
        ({"teacher": "timm:pvt_v2_b"}, "did you mean 'timm:pvt_v2_b"),
        ({"student": "timm:pvt_v2_b"}, "did you mean 'timm:pvt_v2_b"),
        ({"overrides": ("iteratons=3",)}, "'iterations'"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(options, near):
    with pytest.raises(BenchError, match=r"unknown|timm has no network") as error:
        plan(**options)
    assert near in str(error.value)
    assert "\n" not in str(error.value)


def test_the_frozen_teacher_is_one_size_up():
    planned = plan(student="mini_xs")
    assert [teacher.network for teacher in planned.teachers] == ["mini_s"]
    assert planned.teachers[0].plan.spec.method == "source_only"
    assert planned.teachers[0].plan.spec.student == "mini_s"
    assert planned.teachers[0].plan.spec.scenario == planned.spec.scenario


def test_a_named_teacher_takes_its_place():
    assert [t.network for t in plan(teacher="test_mit").teachers] == ["test_mit"]
    assert [t.network for t in plan(overrides=("teacher=test_mit",)).teachers] == ["test_mit"]


def test_where_there_is_no_larger_network_the_teacher_has_to_be_named():
    with pytest.raises(BenchError, match="--teacher"):
        plan(student="mini_l")
    assert plan(student="mini_l", teacher="mini_s").teachers[0].network == "mini_s"


def test_a_teacher_is_refused_by_a_method_without_one():
    with pytest.raises(BenchError, match="has no frozen teacher"):
        plan("daformer", teacher="mini_m")


def test_the_teacher_trains_for_its_own_schedule():
    planned = plan(overrides=("iterations=10", "teacher_iterations=20"))
    assert planned.spec.profile.iterations == 10
    assert planned.teachers[0].plan.spec.profile.iterations == 20


def test_a_schedule_of_several_lengths_is_so_for_the_frozen_teacher_too():
    made = plan(overrides=("iterations=10", "teacher_iterations=20", "length=3"))
    assert made.spec.profile.iterations == 30
    assert made.teachers[0].plan.spec.profile.iterations == 60
    assert replan(made.spec, None).spec == made.spec, "it is multiplied once"


def test_the_edition_of_a_profile_is_not_set_by_hand():
    with pytest.raises(BenchError, match="belongs to the profile's file"):
        plan(overrides=("edition=1",))


def test_the_teachers_run_is_the_same_as_one_asked_for_by_hand():
    """So a source-only run of a sweep serves as the frozen teacher of another run."""
    teacher = plan(student="mini_xs").teachers[0].plan.spec
    as_long = f"iterations={teacher.profile.iterations}"
    by_hand = plan("source_only", student="mini_s", overrides=(as_long,))
    assert teacher.run_id == by_hand.spec.run_id


def test_a_checkpoint_is_known_by_its_content_not_its_path(tmp_path):
    files = [tmp_path / name for name in ("a.safetensors", "b.safetensors", "c.safetensors")]
    for file, seed in zip(files, (1, 1, 2), strict=True):
        start_weights(file, seed=seed)
    taught = [plan(teacher="mini_s", teacher_checkpoint=str(file)).spec for file in files]
    assert taught[0].run_id == taught[1].run_id != taught[2].run_id
    assert str(tmp_path) not in taught[0].model_dump_json()
    init = [plan("daformer", student="mini_s", init=str(file)).spec for file in files]
    assert init[0].run_id == init[1].run_id != init[2].run_id
    assert init[0].init == file_hash(files[0])


@pytest.mark.parametrize("option", ["teacher_checkpoint", "init"])
def test_a_missing_checkpoint_is_the_users_error(option, tmp_path):
    with pytest.raises(BenchError, match=r"nowhere\.pt.*expected a readable"):
        plan(**{option: str(tmp_path / "nowhere.pt")})


def test_profile_knobs_go_to_the_methods_that_have_them():
    assert plan("daformer").config.ema_alpha == 0.99
    assert plan("dualkd").config.loss_stride == 2
    assert not hasattr(plan("source_only").config, "ema_alpha")


def test_a_targets_knobs_go_before_the_profiles_and_after_the_users():
    asked = {"scenario": "cs2acdc", "profile": "paper_hr"}
    assert plan("mic", profile="paper_hr").config.ignore_bottom == 240
    there = plan("mic", **asked)
    assert (there.config.ignore_bottom, there.config.mask_source) == (0, True)
    assert there.spec.profile.target_knobs == {}
    assert plan("mic", **asked, overrides=("ignore_bottom=7",)).config.ignore_bottom == 7


def test_rows_of_pseudo_labels_are_ignored_only_where_a_hood_is_seen():
    profile = catalogue.profile("tiny")
    expected = {"cityscapes": 8, "acdc": 8, "darkzurich": 8, "camvid": 0, "loveda": 0, "potsdam": 0}
    rows = {name: catalogue.knobs_for(profile, name)["ignore_bottom"] for name in expected}
    assert rows == expected
    mine = catalogue.data_set("gta5").model_copy(update={"name": "mine"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalogue, "_OWN_DATA_SETS", {"mine": mine})
        assert catalogue.knobs_for(catalogue.profile("paper"), "mine")["ignore_bottom"] == 0
    assert not plan("mic", profile="paper_hr").config.mask_source


@pytest.mark.parametrize("method", ["mic", "fda", "dacs", "dualkd+mic", "adaptsegnet"])
def test_a_knob_that_a_method_gained_later_renames_no_run(method):
    """So the records made before it are still found by their suite, and share a row."""
    knobs = {"fda": "clamp_images=false", "dacs": "source_mean_over_valid=true"}
    knobs |= {"mic": "mask_source=true", "dualkd+mic": "mask_source=true"}
    names = {"entropy_start", "clamp_images", "source_mean_over_valid"}
    names |= {"mask_source", "mask_augment"}
    spec = plan(method).spec
    assert not names & spec.method_config.keys()
    if method in knobs:
        other = plan(method, overrides=(knobs[method],)).spec
        assert other.run_id != spec.run_id
        assert knobs[method].partition("=")[0] in other.method_config
        assert replan(other, None).spec == other


def test_a_plan_comes_back_from_its_spec():
    """What a worker process and `bench check` do."""
    first = plan(seed=3, overrides=("lr=0.5", "stages=2,3", "image_size.gta5=[64,32]"))
    again = replan(RunSpec.model_validate_json(first.spec.model_dump_json()), None)
    assert again.spec == first.spec
    assert again.spec.run_id == first.spec.run_id
    assert again.teachers[0].plan.spec == first.teachers[0].plan.spec


def test_a_profile_without_counts_of_generated_images_says_so(tmp_path):
    lines = Path("benchmarks/profiles/tiny.toml").read_text().split("[generated]")
    knobs = lines[1].partition("[knobs]")[2]
    path = tmp_path / "mine.toml"
    path.write_text(f"{lines[0]}[knobs]{knobs}")
    with pytest.raises(DataError, match="generated"):
        plan("daformer", profile=str(path))


def test_a_users_own_profile_is_taken_by_its_path(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(Path("benchmarks/profiles/tiny.toml").read_text().replace("= 400", "= 5"))
    spec = plan("daformer", profile=str(path)).spec
    assert (spec.profile.name, spec.profile.iterations) == ("mine", 5)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("lr = 3e-3", ""), "lr: Field required"),
        (("lr = 3e-3", "lr = -1"), "lr = -1"),
        (("lr = 3e-3", "learning_rate = 1"), "learning_rate"),
        (("lr = 3e-3", "lr = "), "not valid TOML"),
    ],
)
def test_a_broken_profile_is_named_with_its_reason(tmp_path, change, reason):
    path = tmp_path / "mine.toml"
    path.write_text(Path("benchmarks/profiles/tiny.toml").read_text().replace(*change))
    with pytest.raises(BenchError) as error:
        plan("daformer", profile=str(path))
    assert "mine.toml" in str(error.value)
    assert reason in str(error.value)
    assert len(str(error.value)) < 400


def test_a_set_without_a_size_in_the_profile_says_what_to_add(tmp_path):
    text = Path("benchmarks/profiles/tiny.toml").read_text()
    path = tmp_path / "mine.toml"
    path.write_text(text.replace("gta5 = [240, 136]\n", ""))
    with pytest.raises(DataError, match=r"--set profile\.image_size\.gta5="):
        plan("daformer", profile=str(path))
    assert plan("daformer", profile=str(path), overrides=("image_size.gta5=[64,32]",))


@pytest.mark.parametrize("profile", catalogue.names("profiles"))
@pytest.mark.parametrize("method", registry.names())
def test_every_method_resolves_in_every_profile(profile, method):
    """The same command must work in each; a frozen teacher's default must exist in each."""
    assert plan(method, profile=profile).spec.profile.name == profile


def test_init_serves_a_frozen_teacher_of_the_same_network(tmp_path):
    file = start_weights(tmp_path / "own.safetensors")
    planned = plan(student="mini_s", teacher="mini_s", init=str(file))
    assert planned.teachers[0].plan.spec.init == planned.spec.init is not None
    assert plan(student="mini_s", init=str(file)).teachers[0].plan.spec.init is None


@pytest.mark.parametrize("option", ["init", "teacher_init"])
def test_weights_of_another_network_are_refused_before_anything_is_trained(tmp_path, option):
    file = start_weights(tmp_path / "other.safetensors", network="test_mit")
    spelled = "--" + option.replace("_", "-")
    with pytest.raises(BenchError, match=rf"^{spelled} .*other\.safetensors"):
        plan(student="mini_s", teacher="mini_m", **{option: str(file)})


def test_companions_weights_of_another_network_are_refused_too(tmp_path):
    file = start_weights(tmp_path / "other.safetensors", network="test_mit")
    with pytest.raises(BenchError, match=r"^--teacher-init .*other\.safetensors"):
        plan("duda", student="mini_s", teacher_init=str(file))


@pytest.mark.parametrize("crop", ["32,32", "1,1"])
def test_a_batch_of_one_pixel_is_refused_before_anything_runs(crop):
    overrides = ("batch_size=1", f"crop={crop}")
    with pytest.raises(BenchError, match="--set batch_size=2"):
        plan("source_only", student="timm:resnet18", overrides=overrides)
    plan("source_only", student="timm:resnet18", overrides=("batch_size=1", "crop=32,64"))


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("timm:resnet18.augreg", "a1_in1k"),
        ("timm:hf_hub:timm/resnet18", "--init FILE"),
        ("timm:hf-hub:timm/resnet18.a1_in1k", "--init FILE"),
        ("timm:local-dir:/tmp/model", "--init FILE"),
        ("hrda:hrda:test_mit", "at two scales already"),
    ],
)
def test_a_name_that_cannot_be_built_says_what_to_write(name, remedy):
    with pytest.raises(BenchError, match=remedy):
        plan("source_only", student=name)


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_that_torch_does_not_take_is_refused(seed):
    with pytest.raises(ValueError, match="seed"):
        Request(method="source_only", scenario="gta2cs", seed=seed)


def test_norms_that_a_student_has_not_cannot_be_held():
    found = "norm_eval=true: the encoder of daformer_mitb0 has no batch norms"
    with pytest.raises(BenchError, match=found):
        plan("daformer", student="daformer_mitb0", overrides=("norm_eval=true",))
    # Its frozen teacher need not have any.
    plan("dualkd", student="test_deeplab", overrides=("norm_eval=true", "teacher=daformer_mitb0"))
