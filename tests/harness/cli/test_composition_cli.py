"""`bench` takes methods joined by `+`."""

from __future__ import annotations

import json

from bench_cli import QUICK, bench, refused

from harness.config.planning import Request, resolve
from harness.config.schema import RunSpec
from methods.networks import zoo
from methods.networks.weights import save_weights


def spec(method: str, *overrides: str) -> RunSpec:
    return resolve(Request(method=method, scenario="gta2cs", overrides=overrides)).spec


def test_however_it_is_written_it_is_the_same_run():
    assert spec("mic+dualkd") == spec("dualkd+mic")
    assert spec("mic+dualkd").run_id == spec("dualkd+mic").run_id
    assert spec("mic+dualkd").method == "dualkd+mic"
    assert len({spec(name).run_id for name in ("mic", "dualkd", "dualkd+mic")}) == 3


def test_the_profiles_knobs_reach_both():
    config = spec("dualkd+mic", "mask_ratio=0.5").method_config
    assert (config["mask_block"], config["mask_ratio"]) == (16, 0.5)
    assert (config["distance"], config["lambda_fd"]) == ("cosine", 0)
    assert "mask_block" not in spec("dualkd").method_config
    assert "mask_block" not in spec("daformer").method_config


def test_a_band_is_chosen():
    assert spec("fda").method_config["beta"] == [0.01, 0.05, 0.09]
    assert spec("fda", "beta=0.05").method_config["beta"] == [0.05]
    assert spec("fda", "beta=0.01,0.09").method_config["beta"] == [0.01, 0.09]


def test_a_joined_method_runs_and_is_recorded(tmp_path):
    teacher = tmp_path / "teacher.safetensors"
    save_weights(zoo.build("test_mit"), teacher, {})
    outcome = bench(
        "run", "--method", "mic+dualkd", "--scenario", "gta2cs", "--results", tmp_path,
        "--teacher", "test_mit", "--teacher-checkpoint", teacher,
        "--set", "mask_block=8", "--set", "mix_start=0.5", *QUICK,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "dualkd+mic" in outcome.out
    (path,) = (tmp_path / "records").glob("dualkd+mic-*.json")
    record = json.loads(path.read_text())
    assert record["state"] == "done"
    assert {"kd_target", "mixed", "masked"} <= record["metrics"]["losses"].keys()
    shown = bench("table", "--method", "mic+dualkd", "--results", tmp_path)
    assert "dualkd+mic" in shown.out


def test_what_cannot_be_joined_is_refused():
    line = refused(bench("run", "--method", "mic+oracle", "--scenario", "gta2cs", "--dry-run"))
    assert "no common method" in line
    assert "mic combines with" in line
    assert "unknown method 'mik'" in refused(bench("info", "dualkd+mik"))
    assert "part of mic already" in refused(bench("info", "daformer+mic"))


def test_info_and_list_tell_of_joining():
    out = " ".join(bench("info", "mic+dualkd").out.split())
    assert out.startswith("dualkd+mic: ")
    assert "CVPR 2023" in out
    assert "IEEE TIP 2024" in out
    assert "mask_ratio 0.7" in out
    assert "lambda_fd 0.0" in out
    assert "joins with `+`: dacs" in out
    assert "dualkd+mic" in bench("list", "methods").out
