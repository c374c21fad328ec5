from types import SimpleNamespace

import torch
from fake_records import fake_cost, fake_record

from harness.config import catalogue
from harness.records.schema import Inference
from harness.runs import inference
from harness.training.precision import set_float32


def test_float32_is_float32_unless_the_profile_says_tf32():
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    try:
        for tf32 in (True, False):
            set_float32(tf32)
            assert torch.backends.cuda.matmul.allow_tf32 is tf32
            assert torch.backends.cudnn.allow_tf32 is tf32
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


def test_tf32_names_another_run_only_where_it_is_set():
    spec = fake_record().spec
    assert "tf32" not in spec._content()["profile"]
    tf32 = spec.model_copy(update={"profile": spec.profile.model_copy(update={"tf32": True})})
    assert tf32.run_id != spec.run_id


def test_inference_is_measured_with_the_profiles_setting(tmp_path, monkeypatch):
    seen = []

    def measured(*_: object) -> Inference:
        seen.append((torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32))
        return fake_cost().inference

    monkeypatch.setattr(inference, "measure_inference", measured)
    monkeypatch.setattr(inference, "cache_dir", lambda: tmp_path)
    monkeypatch.setattr(
        inference.subprocess, "run",
        lambda command, **_: inference.main(command[-1]) or SimpleNamespace(returncode=0),
    )  # fmt: skip
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    profile = catalogue.profile("tiny")
    try:
        for tf32 in (True, False):
            asked = profile.model_copy(update={"tf32": tf32})
            inference.inference_speed("test_mit", 19, (32, 32), torch.device("cpu"), asked, {})
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]
    assert seen == [(True, True), (False, False)]


def test_the_speed_by_another_number_of_threads_is_measured_anew(tmp_path, monkeypatch):
    """Of a profile that leaves it to torch too, which OMP_NUM_THREADS changes."""
    asked = []

    def measured(question, path):
        asked.append(question["threads"])
        path.write_text(fake_cost().inference.model_dump_json())

    monkeypatch.setattr(inference, "_measure_apart", measured)
    monkeypatch.setattr(inference, "cache_dir", lambda: tmp_path)
    own_choice = catalogue.profile("tiny").model_copy(update={"threads": 0})
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 1):
            torch.set_num_threads(threads)
            cpu = torch.device("cpu")
            inference.inference_speed("test_mit", 19, (32, 32), cpu, own_choice, {})
    finally:
        torch.set_num_threads(before)
    assert asked == [1, 2]
