"""DUDA: who labels, who learns when, and the weights of the fine-tuning by hand."""

from __future__ import annotations

import json
import weakref
from math import log

import pytest
import torch
from bench_cli import QUICK, bench
from torch import Tensor
from toy_student import Toy

from harness.records import store
from methods import registry
from methods.contract import Batch, CompanionSpec, Method, Segmentation
from methods.duda import DUDA, class_overlap, class_weights
from methods.networks.weights import load_weights, save_weights
from methods.networks.zoo import build

PLAIN = {"ignore_top": 0, "ignore_bottom": 0, "lambda_fd": 0}


class Shifted(Toy):
    """The toy student, its boundary between the classes at 1 instead of 0."""

    def forward(self, image: Tensor) -> Segmentation:
        return super().forward(image - 1)


def toys(student: Toy, *large: Toy, **config: object) -> DUDA:
    cfg = DUDA.Config.model_validate({**PLAIN, **config})
    return DUDA(cfg, student, companions=large, iterations=4).train()


def networks(
    name: str = "duda", *large: str, iterations: int = 4, **config: object
) -> tuple[Method, list[torch.nn.Module]]:
    """A joined or plain method around real networks, and its companions."""
    torch.manual_seed(0)
    kind = registry.load(name)
    cfg = kind.Config.model_validate({**PLAIN, **config})
    companions = [build(network) for network in large or ["test_deeplab"]]
    student = build("test_mit")
    return kind(cfg, student, companions=companions, iterations=iterations).train(), companions


@pytest.fixture
def batch() -> Batch:
    generator = torch.Generator().manual_seed(1)
    source, target = torch.randn(2, 2, 3, 32, 64, generator=generator)
    label = torch.randint(0, 19, (2, 4, 8), generator=generator)
    return Batch(source, label.repeat_interleave(8, 1).repeat_interleave(8, 2), target)


def terms(method: Method, batch: Batch, step: int) -> dict[str, Tensor]:
    return {name: value for group in method.losses(batch, step) for name, value in group.items()}


def constant(value: float) -> Batch:
    image = torch.full((2, 3, 4, 4), value)
    return Batch(image, torch.zeros(2, 4, 4, dtype=torch.int64), image)


def test_the_overlap_of_two_predictions():
    a, b = torch.tensor([[[0, 0, 1, 1]]]), torch.tensor([[[0, 1, 1, 2]]])
    both, either = class_overlap(a, b, 19)
    assert both[:4].tolist() == [1, 1, 0, 0]
    assert either[:4].tolist() == [2, 3, 1, 0]
    assert not both[4:].any()
    assert not either[4:].any()


def test_weights_grow_with_inconsistency_and_are_one_in_the_mean():
    overlap = torch.zeros(2, 19)
    overlap[:, 0] = torch.tensor([3.0, 4.0])  # inconsistency 1/4
    overlap[:, 1] = torch.tensor([2.0, 2.0])  # 0
    overlap[:, 2] = torch.tensor([0.0, 5.0])  # 1
    weights = class_weights(overlap)
    assert weights[:3].tolist() == pytest.approx([0.25 / (1.25 / 3), 0, 1 / (1.25 / 3)])
    assert weights[:3].mean().item() == pytest.approx(1)
    assert (weights[3:] == 1).all()
    assert (class_weights(torch.zeros(2, 19)) == 1).all()
    assert (class_weights(torch.ones(2, 19)) == 1).all()  # all agreed


def test_the_fine_tuning_by_hand():
    """Columns at 2, 1/2, -1, -1: the student's classes are 0 0 1 1, the teacher's 0 1 1 1."""
    student, teacher = log(3), log(9)
    columns = [2.0, 0.5, -1.0, -1.0]
    image = torch.tensor(columns).expand(2, 3, 4, 4)
    method = toys(Toy(student), Shifted(teacher), lambda_kl=0.5)
    term = method.fine_tuning(Batch(image, torch.zeros(2, 4, 4).long(), image))

    iou = {0: 1 / 2, 1: 2 / 3}
    mean = ((1 - iou[0]) + (1 - iou[1])) / 2
    loss = 0.0
    for x, label in zip(columns, (0, 1, 1, 1), strict=True):
        t, s = (1 / (1 + 9 ** -(x - 1))), (1 / (1 + 3**-x))
        kl = t * log(t / s) + (1 - t) * log((1 - t) / (1 - s))
        loss += (1 - iou[label]) / mean * kl / 4
    assert term.item() == pytest.approx(loss, rel=1e-5)
    by_name = terms(method, Batch(image, torch.zeros(2, 4, 4).long(), image), 3)
    assert by_name["inconsistency_kl"].item() == pytest.approx(0.5 * loss, rel=1e-5)


def test_the_counts_fade():
    method = toys(Toy(1.0), Toy(1.0), inconsistency_alpha=0.5)
    method.fine_tuning(constant(1.0))
    assert method.overlap[:, 0].tolist() == [32, 32]
    method.fine_tuning(constant(-1.0))
    assert method.overlap[:, 0].tolist() == [16, 16]
    assert method.overlap[:, 1].tolist() == [32, 32]
    assert "overlap" in method.state_dict()


def test_pseudo_labels_are_the_large_teachers():
    """The student calls every pixel 1 and is sure of it, the large network 0."""
    method = toys(Toy(-5.0), Toy(log(9)), pseudo_threshold=0.8)
    label, weight = method.label_target(constant(1.0))
    assert (label == 0).all()
    assert (weight == 1).all()
    with torch.no_grad():
        method.large_networks[0].slope.fill_(-5.0)
    assert (method.label_target(constant(1.0)).label == 0).all(), "the EMA's, not the student's"


def test_several_teachers_label_by_the_mean_of_their_probabilities():
    """Class 0 with 9/10, 1/4 and 1/2: 0.55 in the mean."""
    large = (Toy(log(9)), Toy(-log(3)), Toy(0.0))
    for threshold, expected in ((0.54, 1), (0.56, 0)):
        method = toys(Toy(-5.0), *large, pseudo_threshold=threshold)
        label, weight = method.label_target(constant(1.0))
        assert (label == 0).all()
        assert (weight == expected).all()


def test_the_teacher_follows_the_large_student():
    method = toys(Toy(1.0), Toy(2.0), ema_alpha=0.75)
    with torch.no_grad():
        method.large_networks[0].slope.fill_(6.0)
    method.update_teacher(1)  # min(1 - 1/2, 0.75)
    assert method.ema_teacher.slope.item() == pytest.approx(0.5 * 2 + 0.5 * 6)
    method.update_teacher(3)  # the fine-tuning has begun: it stands still
    assert method.ema_teacher.slope.item() == pytest.approx(4)
    moving = toys(Toy(1.0), Toy(2.0), ema_alpha=0.75, large_rests=False)
    with torch.no_grad():
        moving.large_networks[0].slope.fill_(6.0)
    moving.update_teacher(3)
    assert moving.ema_teacher.slope.item() == pytest.approx(0.75 * 2 + 0.25 * 6)


def test_terms_over_the_schedule(batch):
    method, _ = networks("duda", "test_deeplab", "test_mit", mix_start=0.25, lambda_fd=0.005)
    source = {"source", "feature_distance"}
    large = {f"large{i}_{term}" for i in (1, 2) for term in ("source", "feature_distance")}
    mixed = {"mixed", "log/pseudo_weight"}
    assert terms(method, batch, 0).keys() == source | large
    pre = source | large | mixed | {"large1_mixed", "large2_mixed"}
    assert terms(method, batch, 1).keys() == pre
    assert terms(method, batch, 3).keys() == source | mixed | {"inconsistency_kl"}
    method, _ = networks(large_rests=False)
    assert {"inconsistency_kl", "large1_mixed", "large1_source"} <= terms(method, batch, 3).keys()


def test_companions_learn_until_they_rest_and_the_student_is_deployed(batch):
    method, (large,) = networks()
    assert method.student.name == "test_mit"
    rates = {
        id(p): group["lr"]
        for group in method.param_groups(1e-2, 0.01, 10.0)
        for p in group["params"]
    }
    assert {rates[id(p)] for p in large.head.parameters()} == {0.1}
    assert {rates[id(p)] for p in large.encoder.parameters()} == {0.01}
    optimiser = torch.optim.AdamW(method.param_groups(1e-2, 0.01, 10.0))
    learnt, moved = [], []
    for step in (2, 3):
        before = [p.clone() for p in large.parameters()]
        optimiser.zero_grad()
        for group in method.losses(batch, step):
            torch.stack([v for k, v in group.items() if not k.startswith("log/")]).sum().backward()
        optimiser.step()
        learnt.append([p.grad is not None for p in large.parameters()])
        pairs = zip(before, large.parameters(), strict=True)
        moved.append([not torch.equal(a, b) for a, b in pairs])
    assert all(learnt[0])
    assert any(moved[0])
    assert not any(learnt[1] + moved[1])


def test_one_graph_of_any_network_is_alive_at_a_time(batch):
    method, companions = networks("duda", "test_deeplab", "test_mit", large_rests=False)
    alive: list[weakref.ref] = []
    leftover = []

    def before(module: object, inputs: object) -> None:
        leftover.extend(ref for ref in alive if ref() is not None)
        alive.clear()

    def after(module: object, inputs: object, output: Segmentation) -> None:
        alive.extend(weakref.ref(t) for t in (output.logits, output.fused, *output.features))

    for network in (method.student, *companions):
        network.register_forward_pre_hook(before)
        network.register_forward_hook(after)
    count = 0
    for group in method.losses(batch, 3):
        torch.stack([v for k, v in group.items() if not k.startswith("log/")]).sum().backward()
        count += 1
        del group
    assert count == 7  # source, target, mixed; source and mixed of two large students
    assert not leftover


def test_it_joins_with_mic_and_the_target_is_labelled_once(batch):
    method, _ = networks("duda+mic", mask_block=8)
    seen = []
    method.ema.network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    assert {"mixed", "large1_mixed", "masked"} <= terms(method, batch, 0).keys()
    assert len(seen) == 1
    assert torch.equal(seen[0], batch.target_image)


def test_it_joins_with_hrda(batch):
    method, _ = networks("duda+hrda")
    for step in (0, 3):
        assert all(value.isfinite() for value in terms(method, batch, step).values())


def test_it_asks_for_one_size_up_unless_teachers_are_named():
    assert DUDA.companions(DUDA.Config(), "mini_s") == [CompanionSpec("mini_m")]
    config = DUDA.Config(teacher="mini_l", further_teachers=("mini_m",), teacher_checkpoint="a.pt")
    expected = [CompanionSpec("mini_l", "a.pt"), CompanionSpec("mini_m")]
    assert DUDA.companions(config, "mini_s") == expected


def test_a_run_of_it_ends_well_and_is_named_after_every_teacher(tmp_path):
    outcome = bench(
        "run", "--method", "duda", "--scenario", "gta2cs", *QUICK, "--results", tmp_path,
        "--set", "further_teachers=test_deeplab",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    (record,) = store.read_all(tmp_path / "records")
    assert [c["network"] for c in record.spec.companions] == ["mini_xs", "test_deeplab"]
    assert record.metrics.ema_teacher is not None
    assert record.cost.training_parameters_m > 2 * record.cost.parameters_m
    again = bench(
        "eval", "--checkpoint", record.run_id, "--part", "ema", "--format", "json",
        "--results", tmp_path,
    )  # fmt: skip
    assert again.code == 0, again.err
    confusion = json.loads(again.out)["scores"]["confusion"]
    assert confusion == record.metrics.ema_teacher.confusion


@pytest.mark.parametrize("name", ["duda", "duda+hrda"])
@pytest.mark.parametrize("large", [("test_deeplab",), ("test_deeplab", "test_mit")])
def test_its_ema_teacher_is_loaded_again_by_its_name(tmp_path, name, large):
    """One large network or several: a run that was trained before is scored by what it kept."""
    method, _ = networks(name, *large)
    path, image = tmp_path / "ema_teacher.safetensors", torch.randn(1, 3, 32, 64)
    teacher = method.ema_teacher.eval()
    save_weights(teacher, path, {})
    again = build(teacher.name).eval()
    load_weights(again, path)
    assert again(image).logits.equal(teacher(image).logits)
