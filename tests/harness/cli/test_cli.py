"""The verbs beside `run` and `sweep`."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from bench_cli import bench, refused
from fake_records import fake_record
from PIL import Image
from real_formats import cut_short, write_cityscapes, write_gta5, write_synthia

from harness.cli import main
from harness.cli.listing import CATEGORIES, entries
from harness.config import catalogue
from harness.data import images
from harness.records import store
from methods import registry
from methods.networks import zoo

ROOT = Path(__file__).parents[3]
VERBS = ["run", "sweep", "list", "info", "data", "subset", "table", "check", "doctor"]
VERBS += ["eval", "predict", "export", "speed"]


@pytest.fixture
def results(tmp_path) -> Path:
    for method in ("source_only", "daformer"):
        for seed in range(3):
            miou = 30 + seed + 5 * (method == "daformer")
            store.write(fake_record(method, seed, miou), tmp_path / "records")
    return tmp_path


def test_help_names_every_verb():
    outcome = bench("--help")
    assert outcome.code == 0
    assert all(verb in outcome.out for verb in VERBS)
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize("verb", [*VERBS, "data make", "data verify", "data stats"])
def test_every_verb_has_help_with_a_word_on_every_option(verb):
    outcome = bench(*verb.split(), "--help")
    assert outcome.code == 0
    assert "Usage" in outcome.out


def python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    return done.stdout


def test_help_imports_no_torch_and_answers_at_once():
    code = (
        "import sys\n"
        "from harness.cli import main; sys.argv = ['bench', '--help']\n"
        "try: main.main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'cv2', 'pandas', 'scipy', 'timm'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        python(code)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    # 0.4 s is the promise; CPU time, because the wall clock of a busy machine says nothing.
    assert min(seconds) < 0.6, f"bench --help took {min(seconds):.2f} s of CPU time"


@pytest.mark.parametrize("arguments", [["list"], ["info", "gta2cs"], ["info", "tiny"]], ids=str)
def test_what_needs_no_torch_imports_none(arguments):
    python(
        f"import sys; from harness.cli import main; sys.argv = ['bench', *{arguments}]\n"
        "try: main.main()\n"
        "except SystemExit as end: assert not end.code\n"
        "assert 'torch' not in sys.modules"
    )


@pytest.mark.parametrize("kind", CATEGORIES)
def test_list_shows_every_name_of_a_kind_with_a_line_on_it(kind):
    outcome = bench("list", kind)
    assert outcome.code == 0
    for name, text in entries(kind).items():
        assert text
        assert any(line.split()[:1] == [name] for line in outcome.out.splitlines()), name


def test_list_shows_all_kinds_and_takes_a_pattern():
    everything = bench("list").out
    assert all(kind in everything for kind in CATEGORIES)
    some = bench("list", "networks", "mini*").out
    assert "mini_xs" in some
    assert "daformer_mitb5" not in some


#: Every name that is explained by words of its own; of networks, one of each head.
EXPLAINED = [n for kind in CATEGORIES if kind != "networks" for n in entries(kind)]
EXPLAINED += ["test_mit", "test_deeplab", "daformer_mitb0", "segformer_mitb0"]


@pytest.mark.parametrize("name", EXPLAINED)
def test_info_explains_every_name(name):
    outcome = bench("info", name)
    assert outcome.code == 0, outcome.err
    assert name in outcome.out
    assert "PydanticUndefined" not in outcome.out


def test_info_of_a_method_shows_every_knob_with_its_default():
    out = bench("info", "dualkd").out
    for name, field in registry.load("dualkd").Config.model_fields.items():
        assert name in out
        assert field.description in " ".join(out.split())
    assert "our reading" in out


def test_info_of_a_network_shows_its_size():
    assert "85.16 M parameters" in bench("info", "daformer_mitb5").out


def test_info_refuses_an_unknown_name_with_the_nearest():
    assert "'dualkd'" in refused(bench("info", "dualk"))


@pytest.mark.parametrize("format_", ["rich", "markdown", "latex", "csv", "json", "html"])
def test_the_table_comes_in_every_format(results, format_):
    outcome = bench("table", "--format", format_, "--results", results)
    assert outcome.code == 0, outcome.err
    assert "daformer" in outcome.out
    assert "36" in outcome.out
    assert "bicycle" not in outcome.out
    if format_ == "json":
        json.loads(outcome.out)


def test_the_table_shows_classes_and_published_figures_when_asked(results):
    table = ["table", "--format", "markdown", "--results", results]
    assert "bicycle" in bench(*table, "--per-class").out
    plain, published = (bench(*table, *extra).out for extra in ([], ["--published"]))
    assert len(published) > len(plain)
    assert "expected json or markdown" in refused(
        bench("table", "--format", "csv", "--published", "--results", results)
    )


def test_the_table_says_that_generated_figures_are_not_a_papers(results):
    out = bench("table", "--format", "markdown", "--results", results).out
    assert "generated data: figures are not comparable with papers" in out


def test_the_table_takes_files_and_filters(results):
    assert "source_only" not in bench("table", "--method", "daformer", "--results", results).out
    file = next((results / "records").glob("source_only*"))
    out = bench("table", file).out
    assert "source_only" in out
    assert "daformer" not in out
    nothing = bench("table", "--method", "oracle", "--results", results)
    assert "--method oracle: no record in" in refused(nothing)


def test_the_table_without_any_record_says_what_to_do(tmp_path):
    assert "bench run" in refused(bench("table", "--results", tmp_path / "nowhere"))


def test_check_exits_with_what_it_found(tmp_path):
    baseline = store.write_list([fake_record(miou=30)], tmp_path / "base.json")

    def exit_code(record) -> int:
        path = store.write_list([record], tmp_path / "found.json")
        outcome = bench("check", "--baseline", baseline, "--records", path)
        assert "Traceback" not in outcome.err
        return outcome.code

    assert exit_code(fake_record(miou=30)) == 0
    assert exit_code(fake_record(miou=20)) == 1
    assert exit_code(fake_record(error="crashed")) == 1
    assert exit_code(fake_record("daformer")) == 3
    assert "nowhere.json" in refused(bench("check", "--baseline", tmp_path / "nowhere.json"))
    out = bench("check", "--baseline", baseline, "--records", baseline, "--format", "markdown").out
    assert out.startswith("**The baseline holds")


def test_check_runs_a_baseline_again(made_once, tmp_path):
    """Made here, it holds here, but for the one figure that is changed in the baseline."""
    made = store.read_all(made_once("source_only").results / "records")
    # Cost is another test's: here the machine may be busy with something else by now.
    made[0].cost.training.images_per_second = made[0].cost.inference.images_per_second = 1e-3
    made[0].cost.training.memory_mib = 1e6
    made[0].metrics.student.miou += 10
    checked = bench("check", "--baseline", store.write_list(made, tmp_path / "base.json"))
    assert checked.code == 1
    (line,) = (line for line in checked.out.splitlines() if " regressed " in line)
    assert "mIoU" in line


@pytest.mark.parametrize(
    "origin",
    [
        {"init": "0123456789abcdef"},
        {"teachers": [{"network": "mini_s", "checkpoint_sha256": "0123456789abcdef"}]},
        {"teachers": [{"network": "mini_s", "weights_id": "a", "init": "0123456789abcdef"}]},
    ],
    ids=["init", "teacher-checkpoint", "teacher-init"],
)
def test_check_cannot_repeat_a_run_that_started_from_a_file_and_says_so(tmp_path, origin):
    record = fake_record()
    record.spec = record.spec.model_copy(update=origin)
    baseline = store.write_list([record], tmp_path / "base.json")
    line = refused(bench("check", "--baseline", baseline))
    assert "started from a weight file" in line
    assert "--records FILE" in line
    assert bench("check", "--baseline", baseline, "--records", baseline).code == 0


def test_doctor_looks_at_the_machine_and_exits_well_without_a_bad_finding():
    outcome = bench("doctor")
    for word in ("python", "torch", "cache", "disk", "memory"):
        assert word in outcome.out
    bad = any(line.startswith("bad") for line in outcome.out.splitlines())
    assert outcome.code == int(bad)


def test_doctor_exits_with_1_on_a_bad_finding(tmp_path):
    outcome = bench("doctor", "--data-root", tmp_path / "nowhere")
    assert outcome.code == 1
    assert any(line.startswith("bad") and "nowhere" in line for line in outcome.out.splitlines())


def test_data_make_writes_sets_that_verify_accepts(tmp_path):
    text = (ROOT / "benchmarks/profiles/tiny.toml").read_text()
    profile = tmp_path / "few.toml"
    profile.write_text(text.replace("= 400", "= 2").replace("= 64", "= 2"))
    made = bench("data", "make", "--out", tmp_path / "data", "--profile", profile)
    assert made.code == 0, made.err
    assert "figures are not comparable with papers" in made.out
    assert {path.name for path in (tmp_path / "data").iterdir()} == {
        "gta5", "synthia", "cityscapes", "acdc", "darkzurich",
    }  # fmt: skip
    checked = bench("data", "verify", "--data-root", tmp_path / "data")
    assert checked.code == 0, checked.out
    assert "cityscapes: good (train 2 of 2975, val 2 of 500 images)" in checked.out
    assert "acdc: good (train 2 of 1600, val 2 of 406 images)" in checked.out
    assert "darkzurich: good (train 2 of 2416, val 2 of 50 images)" in checked.out
    stats = bench("data", "stats", "--data-root", tmp_path / "data")
    assert stats.code == 0, stats.err
    assert "bicycle" in stats.out
    assert "gta5 (2)" in stats.out
    assert "darkzurich val (2)" in stats.out, "its images to train on have no labels"
    other = bench("data", "make", "--out", tmp_path / "other", "--profile", profile, "--seed", "1")
    assert other.code == 0
    first, second = (tmp_path / d / "gta5/images/00001.png" for d in ("data", "other"))
    assert first.read_bytes() != second.read_bytes()


def test_data_make_keeps_its_hands_off_a_users_folder(tmp_path):
    write_gta5(tmp_path, 1)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*.png")}
    assert "gta5" in refused(bench("data", "make", "--out", tmp_path))
    assert {p: p.read_bytes() for p in tmp_path.rglob("*.png")} == before


def test_data_verify_names_each_problem_and_exits_with_2(tmp_path):
    folder = write_gta5(tmp_path, 2)
    write_synthia(tmp_path, 2)
    cut_short(folder / "images" / "00001.png")
    outcome = bench("data", "verify", "--data-root", tmp_path)
    assert outcome.code == 2
    assert "00001.png" in outcome.out
    assert "gta5: 1 problem" in outcome.out
    assert "synthia: good" in outcome.out


def test_data_verify_does_not_pass_over_an_empty_folder(tmp_path):
    write_synthia(tmp_path, 2)
    (tmp_path / "gta5").mkdir()
    outcome = bench("data", "verify", "--data-root", tmp_path)
    assert outcome.code == 2
    assert "gta5: no such data set" in " ".join(outcome.out.split())
    assert "synthia: good" in outcome.out


def test_data_verify_without_data_says_where_to_point(tmp_path):
    assert "--data-root" in refused(bench("data", "verify"))
    assert "camvid" in refused(bench("data", "verify", "--data-root", tmp_path))


def test_data_stats_counts_what_is_there(tmp_path):
    write_cityscapes(tmp_path, 4, 1)
    out = bench("data", "stats", "--data-root", tmp_path).out
    assert "cityscapes (4)" in out
    # Every second image of the test's streets shows a person, none a train.
    line = {row.split()[0]: row for row in out.splitlines() if " / " in row}
    assert "/ 50" in line["person"]
    assert "0.00 / 0" in line["train"]


@pytest.mark.parametrize(
    "arguments",
    [["lsit"], ["list", "method"], ["run"], ["table", "--x"], ["run", "--seed", "-1"], ["data"]],
)
def test_a_mistyped_command_exits_with_2_and_a_hint(arguments):
    line = refused(bench(*arguments))
    assert "--help`" in line or "those above" in line


def test_a_bare_bench_shows_its_help():
    outcome = bench()
    assert outcome.code == 2
    assert "Usage" in outcome.out


def test_a_data_root_may_come_from_the_environment(tmp_path, monkeypatch):
    write_gta5(tmp_path, 1)
    monkeypatch.setenv("UDA_BENCH_DATA", str(tmp_path))
    assert "gta5: good" in bench("data", "verify").out


def test_pillow_adds_no_line_to_ours(tmp_path, monkeypatch, capsys):
    picture = tmp_path / "picture.png"
    Image.new("1", (10_000, 10_000)).save(picture)
    monkeypatch.setattr(main, "app", lambda **_: images.load(picture))
    with warnings.catch_warnings(record=True) as warned, pytest.raises(SystemExit):
        main.main()
    assert warned == []
    assert "100 megapixels; expected 67" in capsys.readouterr().err


def test_names_are_unique_across_kinds():
    """`bench info NAME` shows one thing."""
    every = [n for kind in CATEGORIES for n in entries(kind)]
    assert len(every) == len(set(every))
    assert set(zoo.names()) <= set(every)
    assert set(catalogue.names("profiles")) <= set(every)
