import torch
from fake_records import fake_record

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
