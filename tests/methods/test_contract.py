"""What every method of the registry must keep to, whoever wrote it."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from methods import registry
from methods.contract import IGNORE, Batch, Method
from methods.networks import zoo

NETWORKS = ("test_mit", "test_deeplab")
ITERATIONS = 4
SIZE = (32, 64)

#: Settings beside the defaults that send a step through other branches, for methods with the knobs.
VARIANTS: dict[str, dict] = {
    "defaults": {},
    "source phase": {"mix_start": 0.5, "warm_target": True, "lambda_fd": 0.005},
    "all terms": {
        "loss_stride": 2,
        "stages": ("2", "4", "fused"),
        "images": ("source", "target", "mixed"),
        "projection": "conv",
        "pixel_mask": "things",
        "distance": "cosine",
        "kd_warmup": 0.5,
        "ignore_top": 0,
        "ignore_bottom": 2,
        "levels": 2,
        "gan": "ls",
        "discriminator_width": 4,
    },
}

methods = pytest.mark.parametrize("name", [*registry.names(), "dualkd+hrda+mic"])
networks = pytest.mark.parametrize("network", NETWORKS)
variants = pytest.mark.parametrize("variant", VARIANTS)


def make(name: str, network: str = "test_mit", variant: str = "defaults", seed: int = 0) -> Method:
    method = registry.load(name)
    knobs = {k: v for k, v in VARIANTS[variant].items() if k in method.Config.model_fields}
    config = method.Config(**knobs)
    torch.manual_seed(seed)
    teachers = [zoo.build(spec.network) for spec in method.frozen_teachers(config, network)]
    generator = torch.Generator().manual_seed(seed)
    built = method(config, zoo.build(network), teachers, generator=generator, iterations=ITERATIONS)
    built.train()
    return built


def batch_for(method: Method | type[Method], seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(100 + seed)

    def labels() -> Tensor:
        blocks = torch.randint(0, 20, (2, SIZE[0] // 8, SIZE[1] // 8), generator=generator)
        blocks = torch.where(blocks == 19, IGNORE, blocks)
        return blocks.repeat_interleave(8, 1).repeat_interleave(8, 2)

    source, target = torch.randn(2, 2, 3, *SIZE, generator=generator)
    source_label, target_label = labels(), labels()
    return Batch(source, source_label, target, target_label if method.needs_target_labels else None)


def optimiser_for(method: Method) -> torch.optim.Optimizer:
    """The student's and the critics' in one: what matters here is that all that learns does."""
    groups = [*method.param_groups(1e-2, 0.01, 10.0), *method.critic_groups()]
    return torch.optim.AdamW(groups)


def critics(method: Method) -> list[Tensor]:
    return [p for group in method.critic_groups() for p in group["params"]]


def train_step(
    method: Method, optimiser: torch.optim.Optimizer, batch: Batch, step: int
) -> dict[str, float]:
    """One step as the harness makes it."""
    terms = {}
    optimiser.zero_grad()
    for group in method.losses(batch, step):
        minimised(group).backward()
        terms |= {term: value.item() for term, value in group.items()}
    optimiser.step()
    method.after_step(step)
    return terms


def minimised(group: dict[str, Tensor]) -> Tensor:
    return torch.stack([v for term, v in group.items() if not term.startswith("log/")]).sum()


def steps(method: Method, count: int, first: int = 0) -> list[dict[str, float]]:
    optimiser = optimiser_for(method)
    return [
        train_step(method, optimiser, batch_for(method, step), step)
        for step in range(first, first + count)
    ]


def frozen(method: Method) -> Iterator[tuple[str, Tensor]]:
    """What no optimiser touches: the EMA teacher, the frozen teacher, the ImageNet encoder."""
    for name, parameter in method.named_parameters():
        if not parameter.requires_grad:
            yield name, parameter


@methods
@networks
@variants
def test_terms_are_named_finite_scalars(name, network, variant):
    method = make(name, network, variant)
    optimiser = optimiser_for(method)
    for step in (0, ITERATIONS - 1):
        groups = []
        for group in method.losses(batch_for(method), step):
            minimised(group).backward()
            groups.append(group)
        assert groups
        names = [term for group in groups for term in group]
        assert len(names) == len(set(names)), "a term's name is used twice"
        for term, value in (item for group in groups for item in group.items()):
            assert value.shape == (), term
            assert torch.isfinite(value), term
            assert value.requires_grad or term.startswith("log/"), term
        optimiser.step()


@methods
@variants
def test_gradients_reach_the_student_and_nothing_frozen(name, variant):
    method = make(name, variant=variant)
    before = {n: p.clone() for n, p in frozen(method)}
    train_step(method, optimiser_for(method), batch_for(method), ITERATIONS - 1)
    silent = [n for n, p in method.student.named_parameters() if p.grad is None]
    assert not silent
    assert any(p.grad.abs().sum() > 0 for p in method.student.encoder.parameters())
    assert any(p.grad.abs().sum() > 0 for p in method.student.head.parameters())
    for n, p in frozen(method):
        assert p.grad is None, n
        if not n.startswith("ema."):
            assert torch.equal(p, before[n]), n
    students = {id(p) for p in method.student.parameters()}
    assert not students & {id(p) for _, p in frozen(method)}


@methods
@variants
def test_a_frozen_teacher_stays_as_it_was_given(name, variant):
    method_class = registry.load(name)
    config = method_class.Config()
    teachers = [zoo.build(s.network) for s in method_class.frozen_teachers(config, "test_mit")]
    before = [copy.deepcopy(teacher.state_dict()) for teacher in teachers]
    method = method_class(config, zoo.build("test_mit"), teachers, iterations=ITERATIONS)
    method.train()
    steps(method, 2, first=ITERATIONS - 2)
    for teacher, old in zip(teachers, before, strict=True):
        assert all(torch.equal(value, old[key]) for key, value in teacher.state_dict().items())
        assert not any(module.training for module in teacher.modules())


@methods
@networks
def test_param_groups_hold_what_learns_each_once(name, network):
    method = make(name, network, "all terms")
    students = [p for group in method.param_groups(1e-3, 0.01, 10.0) for p in group["params"]]
    grouped = [*students, *critics(method)]
    assert len(grouped) == len({id(p) for p in grouped})
    assert {id(p) for p in grouped} == {id(p) for p in method.parameters() if p.requires_grad}
    assert {id(p) for p in method.student.parameters()} <= {id(p) for p in students}
    assert all("lr" in group for group in method.critic_groups())


@methods
@variants
def test_a_group_teaches_the_student_or_its_critics(name, variant):
    """Whoever's terms they are, the other side must not feel them."""
    method = make(name, variant=variant)
    theirs = {id(p) for p in critics(method)}
    taught = set()
    for group in method.losses(batch_for(method), ITERATIONS - 1):
        method.zero_grad()
        minimised(group).backward()
        (side,) = {id(p) in theirs for p in method.parameters() if p.grad is not None}
        taught.add(side)
    assert taught == ({False, True} if theirs else {False})


@methods
def test_the_head_learns_faster_by_the_factor(name):
    method = make(name)
    rate = {
        id(p): group["lr"]
        for group in method.param_groups(1e-3, 0.01, 10.0)
        for p in group["params"]
    }
    assert {rate[id(p)] for p in method.student.head.parameters()} == {1e-3 * 10.0}
    assert {rate[id(p)] for p in method.student.encoder.parameters()} == {1e-3}


@methods
@variants
def test_equal_seeds_give_equal_steps(name, variant):
    runs = []
    for _ in range(2):
        method = make(name, variant=variant)
        torch.manual_seed(7)  # dropout and drop-path draw from torch's own generator
        runs.append(steps(method, 2, first=ITERATIONS - 2))
    assert runs[0] == runs[1]


@methods
def test_its_own_draws_leave_torchs_generator_alone(name):
    """One more draw in a method must not move dropout, and so every later figure."""
    method = make(name)
    method.eval()  # no dropout: whatever is drawn now is the method's own
    torch.manual_seed(3)
    before = torch.get_rng_state()
    list(method.losses(batch_for(method), ITERATIONS - 1))
    assert torch.equal(torch.get_rng_state(), before)


@methods
@pytest.mark.parametrize(("network", "k"), [("test_mit", 1), ("test_deeplab", 3)])
def test_the_state_dict_resumes_it_exactly(name, network, k):
    method = make(name, network, "source phase")
    optimiser = optimiser_for(method)
    torch.manual_seed(5)
    for step in range(k):
        train_step(method, optimiser, batch_for(method, step), step)
    saved = copy.deepcopy(
        (
            method.state_dict(),
            optimiser.state_dict(),
            method.generator.get_state(),
            torch.get_rng_state(),
        )
    )
    expected = [
        train_step(method, optimiser, batch_for(method, step), step)
        for step in range(k, ITERATIONS)
    ]

    resumed = make(name, network, "source phase", seed=99)
    again = optimiser_for(resumed)
    resumed.load_state_dict(saved[0])
    again.load_state_dict(saved[1])
    resumed.generator.set_state(saved[2])
    torch.set_rng_state(saved[3])
    found = [
        train_step(resumed, again, batch_for(resumed, step), step) for step in range(k, ITERATIONS)
    ]
    assert found == expected
    for key, value in method.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


@methods
@variants
def test_target_labels_change_nothing_unless_declared(name, variant):
    if registry.load(name).needs_target_labels:
        pytest.skip("declares that it needs them")
    runs = []
    for poison in (None, torch.randint(0, 19, (2, *SIZE)), torch.full((2, *SIZE), 10**6)):
        method = make(name, variant=variant)
        torch.manual_seed(1)
        batch = batch_for(method)
        batch.target_label = poison
        runs.append(train_step(method, optimiser_for(method), batch, ITERATIONS - 1))
    assert runs[0] == runs[1] == runs[2]


@methods
def test_a_method_that_declares_no_target_works_without_one(name):
    if registry.load(name).uses_target:
        pytest.skip("looks at the target")
    runs = []
    for empty in (False, True):
        method = make(name)
        torch.manual_seed(1)
        batch = batch_for(method)
        if empty:
            batch.target_image = batch.target_image[:0]
        runs.append(train_step(method, optimiser_for(method), batch, 0))
    assert runs[0] == runs[1]


@methods
def test_a_method_that_uses_the_target_looks_at_it(name):
    """Else its weights could serve every target, and `uses_target` should say so."""
    runs = []
    for factor in (1.0, -1.0):
        method = make(name)
        torch.manual_seed(1)
        batch = batch_for(method)
        batch.target_image = batch.target_image * factor
        runs.append(train_step(method, optimiser_for(method), batch, ITERATIONS - 1))
    assert (runs[0] != runs[1]) == registry.load(name).uses_target


@methods
@variants
def test_one_graph_is_alive_at_a_time(name, variant):
    """When the student runs again, its last forward's maps are freed: peak memory is one graph."""
    method = make(name, variant=variant)
    alive: list[weakref.ref] = []
    leftover = []

    def before(module: object, inputs: object) -> None:
        leftover.extend(ref for ref in alive if ref() is not None)
        alive.clear()

    def after(module: object, inputs: object, output: object) -> None:
        alive.extend(weakref.ref(t) for t in (output.logits, output.fused, *output.features))

    method.student.register_forward_pre_hook(before)
    method.student.register_forward_hook(after)
    count = 0
    groups = method.losses(batch_for(method), ITERATIONS - 1)
    while (group := next(groups, None)) is not None:
        count += 1
        minimised(group).backward()
        del group
    assert count
    assert not leftover


@methods
@networks
@pytest.mark.parametrize("size", [(33, 65), (24, 70)])
def test_any_crop_will_do(name, network, size):
    """A crop need not be a multiple of the coarsest stride, nor reach it."""
    method = make(name, network, "source phase")
    batch = batch_for(method)
    rows, columns = torch.arange(size[0]) % SIZE[0], torch.arange(size[1]) % SIZE[1]
    batch.source_image = batch.source_image[:, :, rows][..., columns]
    batch.target_image = batch.target_image[:, :, rows][..., columns]
    batch.source_label = batch.source_label[:, rows][..., columns]
    if batch.target_label is not None:
        batch.target_label = batch.target_label[:, rows][..., columns]
    for step in (0, ITERATIONS - 1):
        train_step(method, optimiser_for(method), batch, step)


@methods
def test_an_unlabelled_source_crop_stays_finite(name):
    """A crop that is ignored everywhere must not bring NaN into the weights."""
    method = make(name, variant="all terms")
    batch = batch_for(method)
    batch.source_label.fill_(IGNORE)
    terms = train_step(method, optimiser_for(method), batch, ITERATIONS - 1)
    assert all(value == value for value in terms.values())
    assert all(torch.isfinite(p).all() for p in method.parameters())


@methods
def test_unknown_knobs_are_refused(name):
    with pytest.raises(ValueError, match="Extra inputs"):
        registry.load(name).Config(no_such_knob=1)


@methods
def test_it_says_what_it_is(name):
    method = registry.load(name)
    assert method.title
    assert registry.summary(name).endswith((".", ")"))
    undocumented = [k for k, f in method.Config.model_fields.items() if not f.description]
    assert not undocumented
