"""Which network runs how often in a step: encoders and heads, each call of one network counted."""

from __future__ import annotations

from collections import Counter

import pytest
from toy_student import blocky_batch, terms

from methods import registry
from methods.contract import Method
from methods.testing.tools import ITERATIONS, Subject

#: name -> calls of (encoder, head) by network, at a step that mixes; things are in the batch.
FORWARDS = {
    "source_only": {"student": (1, 1)},
    "oracle": {"student": (1, 1)},
    # On the target without gradients, in the last steps.
    "adabn": {"student": (2, 2)},
    "minent": {"student": (2, 2)},
    "adaptsegnet": {"student": (2, 2)},
    "advent": {"student": (2, 2)},
    "fda": {"student": (2, 2)},
    "dacs": {"student": (2, 2), "ema": (1, 1)},
    "daformer": {"student": (2, 2), "ema": (1, 1), "imagenet": (1, 0)},
    "mic": {"student": (3, 3), "ema": (1, 1), "imagenet": (1, 0)},
    # Context and detail.
    "hrda": {"student": (4, 4), "ema": (2, 2), "imagenet": (1, 0)},
    "hrda+mic": {"student": (6, 6), "ema": (2, 2), "imagenet": (1, 0)},
    # On the target.
    "dualkd": {"student": (3, 3), "ema": (1, 1), "frozen": (1, 1)},
    "dualkd+mic": {"student": (4, 4), "ema": (1, 1), "frozen": (1, 1)},
    "dualkd+hrda": {"student": (5, 5), "ema": (2, 2), "frozen": (1, 1)},
    "duda": {
        "student": (2, 2),
        "large": (2, 2),
        "ema": (1, 1),
        "imagenet": (1, 0),
        "large_imagenet": (1, 0),
    },
    "clda": {
        "student": (3, 3),
        "large": (2, 2),
        "ema": (1, 1),
        "imagenet": (1, 0),
        "large_imagenet": (1, 0),
    },
}


def counted(method: Method) -> Counter[tuple[str, str]]:
    """Calls of each network's `encoder` and `head`, while it is used."""
    calls: Counter[tuple[str, str]] = Counter()
    for name, module in method.named_modules():
        owner, _, part = name.rpartition(".")
        if part in ("encoder", "head") and hasattr(method.get_submodule(owner), "feature_channels"):
            key = name.partition(".")[0], part
            module.register_forward_hook(lambda *_, key=key: calls.update([key]))
    return calls


def forwards(method: Method, label: int = 13) -> dict[str, tuple[int, int]]:
    batch = blocky_batch(64, 96)
    batch.source_label.fill_(label)
    batch.target_label = batch.source_label if method.needs_target_labels else None
    calls = counted(method)
    terms(method, batch, ITERATIONS // 2)
    networks = {name for name, _ in calls}
    return {name: (calls[name, "encoder"], calls[name, "head"]) for name in networks}


def test_every_built_in_method_is_counted():
    assert set(registry.names()) <= FORWARDS.keys()


@pytest.mark.parametrize("name", FORWARDS)
def test_forwards_a_step(name):
    assert forwards(Subject(registry.load(name)).make()) == FORWARDS[name]


@pytest.mark.parametrize("name", ["daformer", "hrda", "duda"])
def test_without_things_the_imagenet_network_rests(name):
    counts = forwards(Subject(registry.load(name)).make(), label=0)
    assert not {"imagenet", "large_imagenet"} & counts.keys()


def test_a_frozen_teacher_of_encoder_stages_runs_no_head():
    method = Subject(registry.load("dualkd"), knobs={"stages": ["1", "4"]}).make()
    assert forwards(method)["frozen"] == (1, 0)


@pytest.mark.parametrize("name", ["daformer", "hrda", "clda"])
def test_the_imagenet_network_holds_no_head(name):
    method = Subject(registry.load(name)).make()
    held = [n for n, _ in method.named_parameters() if "imagenet" in n]
    assert held
    assert not [n for n in held if "head" in n]
    assert list(method.student.head.parameters()), "the student's own is a copy no more"
