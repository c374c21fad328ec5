"""Packaged weights in our encoder see what is in photographs: names, normalisation and all."""

from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from PIL import Image

from harness.config.start_weights import PACKAGES, located
from harness.data.loader import normalise
from methods.networks import zoo
from methods.networks.checkpoint_files import read_content
from methods.networks.checkpoint_formats import efficientnet_names
from methods.networks.weights import load_weights

#: Photographs that scikit-image ships, and the classes of ImageNet that name what they show.
PHOTOGRAPHS = {
    "chelsea.png": {281, 282, 285},  # tabby, tiger cat, Egyptian cat
    "coffee.png": {504, 967},  # coffee mug, espresso
    "camera.png": {872},  # tripod: a man behind a camera on one
    "motorcycle_left.png": {665, 670},  # moped, motor scooter
}


def photographs():
    """The middle square of each as networks get images: (N, 3, 224, 224)."""
    skimage_data = pytest.importorskip("skimage.data", reason="in the extra `test`")
    squares = []
    for name in PHOTOGRAPHS:
        image = Image.open(Path(skimage_data.__file__).parent / name).convert("RGB")
        side = min(image.size)
        left, top = ((length - side) // 2 for length in image.size)
        image = image.crop((left, top, left + side, top + side))
        image = image.resize((224, 224), Image.Resampling.BICUBIC)
        squares.append(torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8))
    return normalise(torch.stack(squares).view(-1, 224, 224, 3).permute(0, 3, 1, 2))


@pytest.mark.parametrize("model", PACKAGES)
@torch.no_grad()
def test_photographs_are_classified_right(model):
    images = photographs()
    pytest.importorskip(PACKAGES[model].name.replace("-", "_"), reason="in the extra `test`")
    file = located("imagenet", f"timm:{model}", "--init")
    network = zoo.build(f"timm:{model}", head="topdown").eval()
    load_weights(network, file, part="encoder")
    classifier = timm.create_model(model).eval()  # what the encoder leaves out
    names = list(classifier.state_dict())
    classifier.load_state_dict(efficientnet_names(read_content(file), names))
    coarsest = network.features(images)[-1]
    logits = classifier.forward_head(classifier.bn2(classifier.conv_head(coarsest)))
    answers = dict(zip(PHOTOGRAPHS, logits.argmax(1).tolist(), strict=True))
    wrong = {name: answer for name, answer in answers.items() if answer not in PHOTOGRAPHS[name]}
    assert not wrong
    assert F.cross_entropy(logits[1:2], torch.tensor([967])) < 0.5  # sure of the coffee
