"""What every network must do, run over the small ones of each kind."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from methods.networks import zoo
from methods.networks.encoders.mit import DropPath
from methods.networks.heads import daformer
from methods.networks.recompute import checkpoint_blocks
from methods.networks.weights import load_weights, save_weights

SMALL = ["test_mit", "test_deeplab", "mini_xs", "mini_s", "mini_deeplab"]
HEADS = [("test_mit", head) for head in ("daformer", "segformer")]


def build(name: str, head: str | None = None) -> nn.Module:
    torch.manual_seed(0)
    overrides = {"head": head, "head_channels": 8} if head else {}
    return zoo.build(name, **overrides)


@pytest.mark.parametrize(("name", "head"), [(name, None) for name in SMALL] + HEADS)
def test_forward_at_odd_sizes(name, head):
    network = build(name, head).eval()
    stride = 8 if "deeplab" in name else 4
    for height, width in ((75, 109), (64, 96), (20, 33)):
        with torch.no_grad():
            image = torch.randn(1, 3, height, width)
            logits, features, fused = network(image)
            assert all(map(torch.equal, network.features(image), features))
        cells = (-(-height // stride), -(-width // stride))
        assert logits.shape == (1, 19, *cells)
        assert fused.shape == (1, network.fused_channels, *cells)
        assert [f.shape[1] for f in features] == network.feature_channels
        sizes = [f.shape[2] * f.shape[3] for f in features]
        assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize(("name", "head"), [(name, None) for name in SMALL] + HEADS)
def test_backward_reaches_every_parameter(name, head):
    network = build(name, head)
    for parameter in network.parameters():  # residual branches start at zero in ResNets
        nn.init.normal_(parameter, std=0.2)
    for module in network.modules():
        if hasattr(module, "p") and not isinstance(module, nn.Conv2d):
            module.p = 0.0  # a dropped path gets no gradient
    network(torch.randn(2, 3, 64, 96)).logits.square().sum().backward()
    idle = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not idle


@pytest.mark.parametrize("name", SMALL)
def test_weights_survive_a_file(name, tmp_path):
    network, other = build(name).eval(), zoo.build(name).eval()
    save_weights(network, tmp_path / "net.safetensors", {"network": name})
    load_weights(other, tmp_path / "net.safetensors")
    image = torch.randn(1, 3, 40, 56)
    with torch.no_grad():
        torch.testing.assert_close(network(image).logits, other(image).logits, rtol=0, atol=0)
    assert [path.name for path in tmp_path.iterdir()] == ["net.safetensors"]


def test_padding_leaves_a_fitting_image_alone():
    network = build("test_mit").eval()
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        features = network.encoder(image)
        assert torch.equal(network(image).logits, network.head(features)[0])


def test_drop_path_and_dropout_only_while_training():
    torch.manual_seed(0)
    network = zoo.build("test_mit", drop_path_rate=0.5, head_dropout=0.5)
    image = torch.randn(2, 3, 64, 64)
    assert not torch.equal(network(image).logits, network(image).logits)
    network.eval()
    assert torch.equal(network(image).logits, network(image).logits)


def test_drop_path_grows_linearly_from_none():
    with torch.device("meta"):
        encoder = zoo.build("daformer_mitb0").encoder
    blocks = [b for s in range(1, 5) for b in encoder.get_submodule(f"block{s}").children()]
    rates = [block.drop_path.p for block in blocks]
    assert rates == pytest.approx([0.1 * i / 7 for i in range(8)])


def test_drop_path_keeps_what_it_drops_in_the_mean():
    torch.manual_seed(0)
    x, branch = torch.full((4000, 2, 3), 5.0), torch.ones(4000, 2, 3)
    drop_path = DropPath(0.2)
    first, second = drop_path.draws(x, 2)
    assert not torch.equal(first, second)
    kept = drop_path(x, branch, first) - x
    assert set(kept.unique().tolist()) == {0.0, 1.25}
    assert (kept == kept[:, :1, :1]).all()
    assert kept.mean().item() == pytest.approx(1, abs=0.03)
    assert drop_path.eval().draws(x, 2) == [None, None]
    assert torch.equal(drop_path(x, branch, None), x + branch)


def test_dropout_is_channel_wise():
    head = zoo.build("test_mit", head_dropout=0.5).head
    dropped = head.dropout(torch.ones(4, 16, 3, 5)).flatten(2)
    assert ((dropped == 0).all(2) | (dropped == 2).all(2)).all()


@torch.no_grad()
@pytest.mark.parametrize("head", ["daformer", "segformer"])
def test_inference_equals_the_graph_of_training(head, monkeypatch):
    """Two heads take another way where they need not keep anything for gradients."""
    network = build("test_mit", head).train()
    image = torch.randn(2, 3, 96, 128)
    network(image)  # running statistics other than 0 and 1
    network.eval()
    monkeypatch.setattr(daformer, "SLICE", 3)  # does not divide the 8 channels of a stage
    fast = network(image).logits
    with torch.enable_grad():
        slow = network(image).logits.detach()
    assert not torch.equal(fast, slow)  # two ways indeed
    torch.testing.assert_close(fast, slow, rtol=0, atol=2e-6 * slow.abs().max().item())


def test_one_image_is_laid_out_as_a_batch_is():
    """mkldnn takes strides by the letter: a batch of one by another took 12 times as long."""
    encoder = build("test_mit").eval().encoder
    strides = []
    for module in encoder.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_pre_hook(lambda _, args: strides.append(args[0].stride()[0]))
    with torch.no_grad():
        encoder(torch.randn(1, 3, 64, 96))
        of_one, _ = list(strides), strides.clear()
        encoder(torch.randn(2, 3, 64, 96))
    assert of_one == strides


BLOCKS = [
    "test_mit",
    "test_deeplab",
    "mini_deeplab",
    "timm:tf_efficientnet_lite0:topdown",
    "timm:vit_tiny_patch16_224:linear",
    "hrda:test_mit",
]


@pytest.mark.parametrize("name", BLOCKS)
def test_checkpointing_changes_nothing_and_keeps_less(name):
    kept, results = [], []
    for on in (False, True):
        network = build(name).train()
        if name == "test_mit":
            network.encoder.get_submodule("block1")[0].drop_path = DropPath(0.5)
        if on:
            checkpoint_blocks(network)
        sizes = {}

        def pack(tensor, sizes=sizes):
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        torch.manual_seed(1)
        image = torch.randn(4, 3, 64, 96)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            logits = network(image).logits
        kept.append(sum(sizes.values()))
        logits.square().sum().backward()
        drawn = torch.rand(3)  # the random stream stands where it stood
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        results.append([logits, drawn, *gradients, *network.state_dict().values()])
    assert all(map(torch.equal, *results))
    assert kept[1] < kept[0]


def test_a_copy_of_a_checkpointed_network_computes_its_own_blocks():
    network = build("test_mit").train()
    checkpoint_blocks(network)
    copied = deepcopy(network)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    copied(torch.randn(1, 3, 64, 64)).logits.sum().backward()
    assert copied.encoder.get_submodule("block1")[0].mlp.fc1.weight.grad.abs().sum() > 0


def test_a_network_that_cannot_checkpoint_says_so():
    network = build("test_mit")
    network.encoder = nn.Conv2d(3, 8, 1)
    with pytest.raises(ValueError, match="test_mit cannot checkpoint"):
        checkpoint_blocks(network)


@pytest.mark.parametrize("of_the_batch", [False, True], ids=["running", "batch"])
def test_without_gradients_the_head_gives_the_same(of_the_batch):
    """Of an EMA teacher the norms alone are in training mode, and use the batch's statistics."""
    torch.manual_seed(0)
    head = daformer.DAFormerHead([8, 16], 19, channels=16, dilations=(1, 2, 3)).eval()
    for module in head.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean)
            nn.init.uniform_(module.weight)
            module.train(of_the_batch)
    maps = [torch.randn(2, 8, 12, 10), torch.randn(2, 16, 6, 5)]
    with torch.no_grad():
        without = deepcopy(head)(maps)
    for ours, theirs in zip(without, head(maps), strict=True):
        torch.testing.assert_close(ours, theirs.detach(), rtol=1e-5, atol=1e-5)
