"""Networks that learn beside the student: asked for by name, built, trained and recorded."""

from __future__ import annotations

import pytest
import torch
from bench_cli import QUICK, bench, refused
from fake_records import fake_record
from pydantic import Field
from safetensors.torch import load_file

from harness.analysis.comparison import comparison
from harness.config.planning import Request, resolve
from harness.records import store
from harness.runs.training import build_method
from harness.training.trainer import Trainer
from methods import registry
from methods.contract import Batch, CompanionSpec, Method
from methods.networks import zoo
from methods.networks.weights import save_weights
from methods.parts.losses import cross_entropy

SETTINGS = tuple(part for part in QUICK[2:] if part != "--set")


class Together(Method):
    """A larger network learns from the same labels."""

    title = "Student and companion"
    uses_target = False

    class Config(Method.Config):
        teacher: str | None = Field(None, description="the larger network; none: one size up")
        teacher_checkpoint: str | None = Field(None, description="weights for its encoder")

    @classmethod
    def companions(cls, config, student):
        larger = config.teacher or zoo.one_size_up(student)
        return [CompanionSpec(larger, config.teacher_checkpoint)]

    def __init__(self, config, student, frozen_teachers=(), *, companions, **given):
        super().__init__(config, student, frozen_teachers, **given)
        (self.large,) = companions

    def losses(self, batch, step):
        for name, network in (("source", self.student), ("large", self.large)):
            yield {name: cross_entropy(network(batch.source_image).logits, batch.source_label)}


@pytest.fixture(autouse=True)
def known(monkeypatch):
    monkeypatch.setitem(registry.BUILT_IN, "together", f"{__name__}:Together")


def plan(*overrides: str, **request):
    return resolve(
        Request(
            method="together", scenario="gta2cs", student="test_mit",
            overrides=(*SETTINGS, *overrides), **request,
        )
    )  # fmt: skip


def test_a_companion_is_built_and_learns():
    planned = plan()
    student = zoo.build("test_mit")
    method = build_method(planned, student, []).train()
    assert method.large.name == "mini_xs"
    before = [p.clone() for p in method.large.parameters()]
    image, label = torch.randn(1, 3, 32, 64), torch.zeros(1, 32, 64, dtype=torch.int64)
    Trainer(method, planned.spec.profile, torch.device("cpu")).step([Batch(image, label, image)], 2)
    after = method.large.parameters()
    assert not all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_a_run_is_named_after_its_companions_and_their_first_weights(tmp_path):
    default = plan().spec
    assert default.companions == [{"network": "mini_xs"}]
    assert plan(teacher="mini_xs").spec.run_id == default.run_id
    assert plan(teacher="mini_s").spec.run_id != default.run_id
    assert resolve(Request(method="source_only", scenario="gta2cs")).spec.companions == []

    file = tmp_path / "first.safetensors"
    save_weights(zoo.build("mini_xs"), file, {})
    started = plan(teacher_checkpoint=str(file))
    assert started.spec.run_id != default.run_id
    assert str(tmp_path) not in started.spec.model_dump_json()
    method = build_method(started, zoo.build("test_mit"), [])
    written = load_file(file)
    for name, parameter in method.large.encoder.named_parameters():
        assert torch.equal(parameter, written[f"encoder.{name}"])


def test_weights_meant_for_the_student_serve_a_companion_of_its_network(tmp_path):
    file = tmp_path / "first.safetensors"
    save_weights(zoo.build("test_mit"), file, {})
    assert plan(init=str(file)).companions[0].init is None
    assert plan(init=str(file), teacher="test_mit").companions[0].init == file


def test_its_cost_is_in_the_record(tmp_path):
    args = ["run", "--method", "together", "--scenario", "gta2cs", "--results", tmp_path, *QUICK]
    assert "ms a step" in bench(*args, "--dry-run").out
    outcome = bench(*args)
    assert outcome.code == 0, outcome.err
    (record,) = store.read_all(tmp_path / "records")
    assert set(record.metrics.losses) == {"source", "large"}
    student, large = (zoo.build(name) for name in ("test_mit", "mini_xs"))
    both = sum(p.numel() for network in (student, large) for p in network.parameters()) / 1e6
    assert record.cost.training_parameters_m == pytest.approx(both)
    assert "no_such" in refused(bench(*args, "--teacher", "no_such"))


def test_tables_name_it_among_the_teachers_and_not_again_as_a_setting():
    rows = []
    for name in ("mini_xs", "mini_s"):
        record = fake_record("together", config={"teacher": name}, student="test_mit")
        spec = record.spec.model_copy(update={"companions": [{"network": name}]})
        rows.append(record.model_copy(update={"spec": spec, "run_id": spec.run_id}))
    (table,) = comparison(rows)
    assert [(row.label, row.teachers) for row in table.rows] == [
        ("together", ("mini_s",)),
        ("together", ("mini_xs",)),
    ]
