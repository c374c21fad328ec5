"""AdaptSegNet's DeepLab-V2 out of Caffe: its files, its colours, and what its code computes."""

import pytest
import torch
import torch.nn.functional as F

from methods.networks import zoo
from methods.networks.checkpoint_formats import convert
from methods.networks.weights import load_weights
from methods.param_groups import reference_groups
from methods.parts.augment import MEAN, STD

NAME = "deeplabv2_r101_caffe"
BLUE_GREEN_RED = (104.00698793, 116.66876762, 122.67891434)
#: Blocks, stride and dilation of each stage.
STAGES = {1: (3, 1, 1), 2: (4, 2, 1), 3: (23, 1, 2), 4: (3, 1, 4)}
NARROW = (2, 4, 6, 8)
SMALL = {"layers": (1, 1, 1, 1), "channels": NARROW}


def published_file(classes=19, blocks=(3, 4, 23, 3), widths=(64, 128, 256, 512)):
    """Random values by the names and shapes of GTA2Cityscapes_multi-ed35151c.pth."""
    torch.manual_seed(0)
    state = {}

    def conv(name, outputs, inputs, side):
        state[f"{name}.weight"] = torch.randn(outputs, inputs, side, side) / side / inputs**0.5

    def norm(name, channels):
        for part in ("weight", "running_var"):
            state[f"{name}.{part}"] = torch.rand(channels) + 0.5
        for part in ("bias", "running_mean"):
            state[f"{name}.{part}"] = torch.randn(channels)

    conv("conv1", 64, 3, 7)
    norm("bn1", 64)
    inputs = 64
    for stage, (count, width) in enumerate(zip(blocks, widths, strict=True), start=1):
        for block in range(count):
            name = f"layer{stage}.{block}"
            shapes = ((width, inputs, 1), (width, width, 3), (4 * width, width, 1))
            for number, shape in enumerate(shapes, start=1):
                conv(f"{name}.conv{number}", *shape)
                norm(f"{name}.bn{number}", shape[0])
            if block == 0:
                conv(f"{name}.downsample.0", 4 * width, inputs, 1)
                norm(f"{name}.downsample.1", 4 * width)
            inputs = 4 * width
    for layer, channels in (("layer5", 4 * widths[2]), ("layer6", 4 * widths[3])):
        for number in range(4):
            conv(f"{layer}.conv2d_list.{number}", classes, channels, 3)
            state[f"{layer}.conv2d_list.{number}.bias"] = torch.randn(classes)
    return state


def published_logits(state, image):
    """What model/deeplab_multi.py and evaluate_cityscapes.py make of an image, at its size.

    The classifier returns within its loop: of four convolutions it adds two.
    """

    def conv(name, x, **how):
        return F.conv2d(x, state[f"{name}.weight"], state.get(f"{name}.bias"), **how)

    def norm(name, x):
        parts = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(state[f"{name}.{part}"] for part in parts))

    x = norm("bn1", conv("conv1", image, stride=2, padding=3)).relu()
    x = F.max_pool2d(x, 3, 2, 1, ceil_mode=True)
    for stage, (count, first_stride, dilation) in STAGES.items():
        for block in range(count):
            name, stride = f"layer{stage}.{block}", 1 if block else first_stride
            y = norm(f"{name}.bn1", conv(f"{name}.conv1", x, stride=stride)).relu()
            y = conv(f"{name}.conv2", y, padding=dilation, dilation=dilation)
            y = conv(f"{name}.conv3", norm(f"{name}.bn2", y).relu())
            if block == 0:
                x = norm(f"{name}.downsample.1", conv(f"{name}.downsample.0", x, stride=stride))
            x = (x + norm(f"{name}.bn3", y)).relu()
    classifier = "layer6.conv2d_list"
    logits = sum(conv(f"{classifier}.{i}", x, padding=d, dilation=d) for i, d in ((0, 6), (1, 12)))
    return F.interpolate(logits, image.shape[2:], mode="bilinear", align_corners=True)


@torch.no_grad()
def test_a_published_checkpoint_gives_the_logits_of_its_code(tmp_path):
    state = published_file(widths=NARROW)
    torch.save(state, tmp_path / "multi.pth")
    network = zoo.build(NAME, channels=NARROW).eval()
    assert load_weights(network, tmp_path / "multi.pth") == "DeepLab-V2 of AdaptSegNet"
    red_green_blue = torch.randint(256, (1, 3, 64, 97)).float()
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    output = network((red_green_blue - mean) / std)
    theirs = red_green_blue.flip(1) - torch.tensor(BLUE_GREEN_RED).view(3, 1, 1)
    expected = published_logits(state, theirs)
    torch.testing.assert_close(output.logits, expected, rtol=0, atol=1e-4 * expected.abs().max())
    assert output.features[-1].shape == (1, 4 * 8, 9, 13)  # both corners of the image


def test_a_published_checkpoint_has_the_names_and_shapes_of_the_network():
    with torch.device("meta"):
        state = published_file()
        expected = zoo.build(NAME).state_dict()
    renamed, _ = convert(state, expected)
    shapes = {name: value.shape for name, value in expected.items() if "num_batches" not in name}
    assert {name: value.shape for name, value in renamed.items()} == shapes


def small_file(**changes):
    return published_file(blocks=SMALL["layers"], widths=SMALL["channels"], **changes)


def test_weights_of_coco_give_their_encoder_whatever_their_classes(tmp_path):
    state = {f"Scale.{k}": v for k, v in small_file(classes=21).items() if "layer5" not in k}
    state = {k.replace("layer6", "layer5"): v for k, v in state.items()}
    torch.save(state, tmp_path / "init.pth")
    network = zoo.build(NAME, **SMALL)
    load_weights(network, tmp_path / "init.pth", part="encoder")
    assert torch.equal(network.encoder.conv1.weight, state["Scale.conv1.weight"])
    with pytest.raises(ValueError, match="take a checkpoint of 19 classes, this one has 21"):
        load_weights(network, tmp_path / "init.pth")


def test_a_network_of_one_level_has_its_classifier_behind_the_last_stage(tmp_path):
    """AdaptSegNet's calls it layer5, ADVENT's layer6."""
    state = {k: v for k, v in small_file().items() if "layer5" not in k}
    for number, classifier in enumerate(("layer5", "layer6")):
        file = tmp_path / f"{classifier}.pth"
        torch.save({k.replace("layer6", classifier): v + number for k, v in state.items()}, file)
        network = zoo.build(NAME, **SMALL)
        load_weights(network, file)
        bias = state["layer6.conv2d_list.1.bias"] + number
        assert torch.equal(network.head.aspp_modules[1].conv.bias, bias)


def test_files_of_other_resnets_are_refused_by_name(tmp_path):
    torch.save(small_file(), tmp_path / "caffe.pth")
    with pytest.raises(ValueError, match="AdaptSegNet's and ADVENT's fit deeplabv2_r101_caffe"):
        load_weights(zoo.build("test_deeplab"), tmp_path / "caffe.pth")
    state = {k: v for k, v in small_file().items() if "conv2d_list" not in k}
    torch.save(state | {"fc.weight": torch.zeros(1000, 32)}, tmp_path / "torch.pth")
    with pytest.raises(ValueError, match=r"torch\.pth is an image classifier .*expected weights"):
        load_weights(zoo.build(NAME, **SMALL), tmp_path / "torch.pth", part="encoder")


def test_scale_and_shift_of_norms_stay_and_their_statistics_move():
    network = zoo.build(NAME, **SMALL).train()
    groups = reference_groups(network, 1.0, 0.0, 10.0)
    learning = {id(p) for group in groups for p in group["params"]}
    still = {name for name, p in network.named_parameters() if id(p) not in learning}
    assert still == {n for n, _ in network.named_parameters() if ".bn" in n or "downsample.1" in n}
    network(torch.randn(2, 3, 64, 64)).logits.square().sum().backward()
    idle = [n for n, p in network.named_parameters() if n not in still and not p.grad.any()]
    assert not idle
    assert network.encoder.layer4[0].bn3.running_mean.any()
