"""Whatever training tools wrap around weights comes off, in any order; averages are found."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.optim.swa_utils import AveragedModel

from methods.networks.checkpoint_shells import network_in

STUDENT = {"encoder.conv.weight": torch.zeros(2, 1), "head.conv_seg.bias": torch.zeros(3)}
AVERAGE = {key: value + 1 for key, value in STUDENT.items()}
OF_BACKBONE = {"patch_embed1.proj.weight": torch.zeros(2), "norm1.bias": torch.zeros(1)}
OPTIMISER = {"state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.zeros(2)}}}
REST = {"epoch": 3, "optimizer": OPTIMISER, "meta": {"iter": 40000}, "lr_scheduler": {"a": 1}}


def before(prefix):
    return lambda state: {f"{prefix}{key}": value for key, value in state.items()}


def under(name):
    return lambda state: {name: state, **REST}


SHELLS = {
    **{
        name: before(name)
        for name in (
            "module.",
            "_orig_mod.",
            "model.",
            "net.",
            "network.",
            "student.",
            "modelStudent.",
        )
    },
    **{
        name: under(name)
        for name in (
            *("state_dict", "model_state_dict", "model_state", "model", "net", "network"),
            *("params", "weights", "module", "my_segformer"),
        )
    },
}
PREFIXES = [name for name in SHELLS if name.endswith(".")]
DICTIONARIES = [name for name in SHELLS if not name.endswith(".")]


def wrapped(state, prefixes, dictionaries):
    for name in (*prefixes, *dictionaries):
        state = SHELLS[name](state)
    return state


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([STUDENT, OF_BACKBONE]),
    st.lists(st.sampled_from(PREFIXES), max_size=3),
    st.lists(st.sampled_from(DICTIONARIES), max_size=3),
)
def test_shells_come_off_in_any_order(state, prefixes, dictionaries):
    taken, _ = network_in(wrapped(state, prefixes, dictionaries), "student")
    assert taken == state


TWO = {
    "timm": {"state_dict": STUDENT, "state_dict_ema": AVERAGE, "arch": "x", **REST},
    "model and model_ema": {"model": STUDENT, "model_ema": AVERAGE, **REST},
    "ema of AveragedModel": {
        "model": STUDENT,
        "ema": {"n_averaged": torch.tensor(2), **before("module.")(AVERAGE)},
    },
    "basicsr": {"params": STUDENT, "params_ema": AVERAGE},
    "ema_state_dict": {"state_dict": STUDENT, "ema_state_dict": before("module.")(AVERAGE), **REST},
    "count beside both": {"n_averaged": 3, "model": STUDENT, "swa_model": AVERAGE},
    "student and teacher": {"student": before("module.")(STUDENT), "teacher": AVERAGE},
    "Unbiased Teacher": {
        "model": before("modelStudent.")(STUDENT) | before("modelTeacher.")(AVERAGE)
    },
    "DAFormer": {
        "state_dict": before("model.")(STUDENT)
        | before("ema_model.")(AVERAGE)
        | before("imnet_model.")(STUDENT)
    },
    "Lightning": {
        "state_dict": before("model._orig_mod.")(STUDENT)
        | before("model_ema.module.")(AVERAGE)
        | {"criterion.weight": torch.zeros(19)},
        "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(1.0)}},
    },
    "Lightning's callback": {
        "state_dict": before("net.")(STUDENT),
        "callbacks": {"EMA": {"ema_state_dict": before("net.")(AVERAGE), "decay": 0.999}},
    },
    "mmcv": {
        "state_dict": STUDENT
        | {f"ema_{key.replace('.', '_')}": value for key, value in AVERAGE.items()},
        "meta": {},
    },
    "mmcv in DataParallel": before("module.")(
        STUDENT | {f"ema_{key.replace('.', '_')}": value for key, value in AVERAGE.items()}
    ),
    # mmengine's hook swaps the two before it saves.
    "mmengine": {
        "meta": {},
        "message_hub": {},
        "state_dict": AVERAGE,
        "ema_state_dict": before("module.")(STUDENT) | {"steps": torch.tensor(4)},
    },
}


@pytest.mark.parametrize("tool", TWO)
def test_student_and_average_are_told_apart(tool):
    for which, expected in (("student", STUDENT), ("ema_teacher", AVERAGE)):
        taken, origin = network_in(TWO[tool], which)
        assert taken.keys() == expected.keys()
        assert all(torch.equal(taken[key], expected[key]) for key in taken), which
        assert (which == "ema_teacher") == ("ema teacher" in origin or "mmcv" in origin)


def test_an_averaged_model_alone_is_both():
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    state = AveragedModel(torch.nn.DataParallel(network)).state_dict()
    for which in ("student", "ema_teacher"):
        assert network_in({"model": state}, which)[0].keys() == network.state_dict().keys()


def test_an_average_alone_is_no_student():
    with pytest.raises(ValueError, match=r"only a moving average \('model_ema'\).* --part ema"):
        network_in({"model_ema": AVERAGE, "epoch": 3}, "student")
    assert network_in({"model_ema": AVERAGE, "epoch": 3}, "ema_teacher")[0] == AVERAGE


def test_names_of_our_own_are_left_alone():
    """A network whose parts are called like shells, read into a network of the same names."""
    state = before("model.")(STUDENT)
    assert network_in(state, "student", state.keys())[0] == state


def test_what_holds_no_parameters_says_what_it_holds():
    ring = {"epoch": 3}
    ring["state_dict"] = ring
    for content, said in (
        ({"epoch": 3, "args": {}}, "the keys 'epoch', 'args'"),
        (ring, "the keys 'epoch', 'state_dict'"),
        ([1], "a list"),
        ({}, "found nothing"),
        ({"optimizer": OPTIMISER}, "the keys 'optimizer'"),
    ):
        with pytest.raises(ValueError, match=f"holds no state_dict: .*{said}"):
            network_in(content, "student")
