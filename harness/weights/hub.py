"""`bench export --hub`: a folder as the Hugging Face hub takes it. Nothing is uploaded."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import yaml

from harness.config import catalogue
from harness.config.class_set import ClassSet
from harness.config.schema import DataRef
from harness.evaluation.registry import measured
from harness.files import folder_replaced_whole, read_json, write_text
from harness.records.schema import Record, Scores, provenance, unlabelled
from harness.text import markdown_text, plain_values
from harness.weights.export import Card, card_of, save
from harness.weights.find import EMA_WEIGHTS, Checkpoint
from methods.contract import Segmentor

#: The hub's names.
WEIGHTS, CONFIG, PAGE = "model.safetensors", "config.json", "README.md"
FILES = {WEIGHTS, CONFIG, PAGE}
LIBRARY = "uda-bench"
USE = """## Use

```python
import json

import torch
from safetensors.torch import load_file

from methods.networks import zoo  # of uda-bench

config = json.load(open("config.json"))
CONFIGnetwork = zoo.build(config["network"], len(config["classes"])).eval()
network.load_state_dict(load_file("model.safetensors"))
image = torch.zeros(1, 3, 512, 1024)  # grey levels 0..255, less image_mean, by image_std
classes = network(image).logits.argmax(1)  # at 1 / head_stride of the image's size
```
"""
#: What the use of a network takes that was a config file of the user's.
OWN_CONFIG = """zoo.CONFIGS[zoo.one_scale(config["network"])] = config["config"]
"""


def export_to_hub(
    network: Segmentor,
    description: str,
    classes: ClassSet,
    checkpoint: Checkpoint,
    out: Path,
    *,
    size: tuple[int, int],
) -> Card:
    """Make the folder `out` of model.safetensors, config.json and README.md, all or none.

    `size` is (width, height). BenchError where `out` holds other files; it is then as it was.
    """
    network = copy.deepcopy(network).eval().requires_grad_(False)
    with folder_replaced_whole(out, "--hub", "export", FILES, _is_ours) as building:
        card = card_of(network, description, classes, checkpoint, size)
        save(network, card, building / WEIGHTS)
        record = checkpoint.record
        write_text(building / CONFIG, json.dumps(_config(card, record), indent=2) + "\n")
        is_ema = checkpoint.path.name == EMA_WEIGHTS
        write_text(building / PAGE, page(card, record, is_ema=is_ema))
    return card


def _is_ours(folder: Path) -> bool:
    """Whether an earlier call made the folder: another model of the hub has the same files."""
    try:
        values = read_json(folder / CONFIG)
    except (OSError, ValueError):
        return False
    return isinstance(values, dict) and values.get("library_name") == LIBRARY


def _config(card: Card, record: Record | None) -> dict[str, Any]:
    """What it takes to use the weights, and the spec of the run that made them."""
    names = [each.name for each in card.classes]
    values = card.model_dump(mode="json", exclude={"onnx", "onnx_logits", "mean", "std"})
    return {
        "library_name": LIBRARY,
        **values,
        "image_mean": card.mean,
        "image_std": card.std,
        "id2label": dict(enumerate(names)),
        "label2id": {name: number for number, name in enumerate(names)},
        "spec": record.spec.model_dump(mode="json") if record else None,
    }


def page(card: Card, record: Record | None, *, is_ema: bool = False) -> str:
    """The model card: a header for the hub, and what a reader needs to know."""
    header = yaml.safe_dump(
        plain_values(metadata(card, record, is_ema=is_ema)), sort_keys=False, allow_unicode=True
    )
    parts = [f"---\n{header}---\n", f"# {markdown_text(_name(card, record))}\n"]
    parts += [_origin(record, is_ema)] if record else [_unknown(card)]
    scores = _scores(record, is_ema)
    if record and scores:
        parts.append(_scores_table(record, scores))
    elif record:
        parts.append("Not scored: the target has no labels.\n")
    parts += [_data(record), USE.replace("CONFIG", OWN_CONFIG if card.config else "")]
    return "\n".join(parts)


def metadata(card: Card, record: Record | None, *, is_ema: bool = False) -> dict[str, Any]:
    """The card's header: licence, tags, and the results as the hub's `model-index` has them."""
    generated = record is not None and record.spec.source.generated and record.spec.target.generated
    licence = (
        {"license": "apache-2.0"}
        if generated
        else {"license": "other", "license_name": "terms-of-the-training-data"}
    )
    values: dict[str, Any] = {
        **licence,
        "library_name": LIBRARY,
        "pipeline_tag": "image-segmentation",
        "tags": ["semantic-segmentation", "unsupervised-domain-adaptation"],
    }
    scores = _scores(record, is_ema)
    if record is None or scores is None:
        return values
    target, scored = record.spec.target, record.spec.scenario.scored_set
    dataset = {
        "type": f"{scored}-like" if target.generated else scored,
        "name": f"{record.spec.scenario.title}{', generated' if target.generated else ''}",
        "split": record.spec.scenario.eval_split,
    }
    metrics = [
        {"type": "mean_iou", "name": f"mIoU ({convention}), percent", "value": round(value, 3)}
        for convention, value in _by_convention(record, scores)
    ]
    for metric, value in measured(scores):
        unit = metric.unit.replace("%", "percent")
        metrics.append(
            {
                "type": metric.model_card or metric.name,
                "name": f"{metric.title}, {unit}" if unit else metric.title,
                "value": round(value, 3),
            }
        )
    result = {
        "task": {"type": "image-segmentation", "name": "Semantic segmentation"},
        "dataset": dataset,
        "metrics": metrics,
    }
    return {**values, "model-index": [{"name": _name(card, record), "results": [result]}]}


def _name(card: Card, record: Record | None) -> str:
    if record is None:
        return card.network
    return f"{record.spec.method}, {record.spec.scenario.title}, {card.network}"


def _scores(record: Record | None, is_ema: bool) -> Scores | None:
    """Those of the network that is exported, where there were labels to score it on."""
    if record is None or record.metrics is None or unlabelled(record):
        return None
    return record.metrics.ema_teacher if is_ema else record.metrics.student


def _by_convention(record: Record, scores: Scores) -> list[tuple[str, float]]:
    """MIoU in every convention, the scenario's own first."""
    own = record.spec.scenario.convention
    return [(own, scores.miou), *((n, v) for n, v in scores.conventions.items() if n != own)]


def _origin(record: Record, is_ema: bool) -> str:
    """Method, networks, settings, code."""
    spec, code = record.spec, provenance(record, "code")
    commit = str(code.get("commit") or "unknown") + (" with changes" if code.get("dirty") else "")
    rows = {
        "method": spec.method,
        "network": f"{spec.student}{', its EMA teacher' if is_ema else ''}",
        "frozen teachers": ", ".join(str(t.get("network")) for t in spec.teachers) or "none",
        "scenario": spec.scenario.title,
        "profile": f"{spec.profile.name}, {spec.profile.iterations} steps",
        "seed": str(spec.seed),
        "run": record.run_id,
        "commit": commit,
        "uda-bench": str(code.get("version") or "unknown"),
    }
    lines = [f"| {name} | {markdown_text(value)} |" for name, value in rows.items()]
    return "\n".join(["| | |", "|---|---|", *lines]) + "\n"


def _unknown(card: Card) -> str:
    return f"Weights from a file, {markdown_text(card.format)}; no record of the run is known.\n"


def _scores_table(record: Record, scores: Scores) -> str:
    target, scenario = record.spec.target, record.spec.scenario
    images = record.metrics.val_images if record.metrics else 0
    where = markdown_text(f"{scenario.scored_set}, {scenario.eval_split}")
    lines = [f"## Scores\n\nOn {images} images of {where}:\n"]
    if record.spec.source.generated or target.generated:
        lines.append("**Generated data: these figures are not comparable with papers.**\n")
    lines += ["| figure | percent |", "|---|---|"]
    for convention, value in _by_convention(record, scores):
        lines.append(f"| mIoU ({markdown_text(convention)}) | {value:.2f} |")
    lines += [f"| {metric.title} | {value:.2f} |" for metric, value in measured(scores)]
    for name, iou in scores.iou.items():
        lines.append(f"| IoU, {markdown_text(name)} | {'-' if iou is None else f'{iou:.2f}'} |")
    return "\n".join(lines) + "\n"


def _data(record: Record | None) -> str:
    """What it was trained on, and under which terms."""
    lines = ["## Data and licence\n"]
    if record is None:
        lines.append("Unknown: ask whoever trained it.")
    else:
        lines += [_terms("source", record.spec.source), _terms("target", record.spec.target)]
        lines.append("- The code is under Apache-2.0.")
    return "\n".join(lines) + "\n"


def _terms(role: str, data: DataRef) -> str:
    name = markdown_text(data.dataset)
    if data.generated:
        return f"- {role}: drawn by uda-bench in the format of {name}; Apache-2.0."
    terms, page = _licence(data.dataset)
    return (
        f"- {role}: {name}, under its providers' own terms{terms}. Many such sets allow "
        f"non-commercial research only: read {page} before you pass weights on."
    )


def _licence(dataset: str) -> tuple[str, str]:
    """What is known of a data set's licence, and where to read it."""
    if dataset not in catalogue.data_set_names():  # of a user's own file
        return "", "the page of its providers"
    data_set = catalogue.data_set(dataset)
    terms = f" ({markdown_text(data_set.licence)})" if data_set.licence else ""
    return terms, data_set.source or "the page of its providers"
