"""No config, however nested, gets an unregistered type past the check."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from methods.networks import mmcv_ops, mmseg_types

#: What would be imported and called, or read.
HOSTILE_TYPES = [
    *("subprocess.getoutput", "os.system", "builtins.eval", "torch.load", "mmengine.Config"),
    *("eval", "getoutput", "mmseg.ReLU", "mmengine::BN", "VPD", "Pretrained", "ReLU ", "relu", ""),
    *(b"ReLU", ["ReLU"], {"type": "ReLU"}, ("ReLU",), None, 3, len),
]
REGISTERED = ["ReLU", "BN", "LN", "Normal", "CrossEntropyLoss", "ResNet", "OHEMPixelSampler"]
KEYS = st.sampled_from(["a", "norm_cfg", "act_cfg", "init_cfg", "override", "loss_decode", "0"])


@pytest.fixture(autouse=True, scope="module")
def operators():
    """mmsegmentation registers its types only where mmcv's operators can be imported."""
    mmcv_ops.install()


def nested(types):
    """Dictionaries and lists in one another, each of some type out of `types`."""
    leaves = st.none() | st.integers() | st.booleans() | st.sampled_from(["constant", "same"])
    return st.recursive(
        st.fixed_dictionaries({"type": types}),
        lambda inner: (
            st.dictionaries(KEYS, inner | leaves, max_size=3)
            | st.lists(inner | leaves, max_size=3)
            | st.tuples(inner, leaves)
            | st.builds(
                lambda rest, kind: {**rest, "type": kind}, st.dictionaries(KEYS, inner), types
            )
        ),
        max_leaves=8,
    )


def types_in(value):
    """Every value of a key `type`; written apart from the check's own walk."""
    todo, kinds = [value], []
    while todo:
        part = todo.pop()
        if isinstance(part, dict):
            kinds += [item for key, item in part.items() if key == "type"]
            todo += part.values()
        elif isinstance(part, list | tuple):
            todo += part
    return kinds


@settings(max_examples=400, deadline=None)
@given(nested(st.sampled_from([*HOSTILE_TYPES, *REGISTERED])))
def test_a_config_is_refused_unless_every_type_in_it_is_registered(config):
    model = mmseg_types.without_weights({"backbone": config})
    registered = all(kind in REGISTERED for kind in types_in(model) if isinstance(kind, str))
    if registered and all(isinstance(kind, str) for kind in types_in(model)):
        mmseg_types.check("mmseg:x", model)
    else:
        with pytest.raises(ValueError, match="type is"):
            mmseg_types.check("mmseg:x", model)


@settings(max_examples=200, deadline=None)
@given(st.text(min_size=1).filter(lambda text: text not in mmseg_types._registered()))
def test_no_other_text_is_a_type(text):
    with pytest.raises(ValueError, match="type is"):
        mmseg_types.check("mmseg:x", {"decode_head": [{"norm_cfg": {"type": text}}]})
