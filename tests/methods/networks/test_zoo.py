"""The zoo's table: names, sizes, families, refusals."""

import subprocess
import sys

import pytest
import torch

from methods.networks import zoo

#: Millions of parameters: (whole network, encoder), as counted on the reference implementation.
REFERENCE_SIZES = {
    "daformer_mitb0": (6.90, 3.32),
    "daformer_mitb1": (16.86, 13.15),
    "daformer_mitb2": (27.91, 24.20),
    "daformer_mitb3": (47.78, 44.07),
    "daformer_mitb4": (64.56, 60.84),
    "daformer_mitb5": (85.16, 81.44),
    "deeplabv2_r50": (24.23, 23.53),
    "deeplabv2_r101": (43.22, 42.52),
}


def millions(module):
    return sum(p.numel() for p in module.parameters()) / 1e6


@pytest.mark.parametrize("name", REFERENCE_SIZES)
def test_sizes_of_the_reference(name):
    with torch.device("meta"):
        network = zoo.build(name)
    assert (millions(network), millions(network.encoder)) == pytest.approx(
        REFERENCE_SIZES[name], abs=0.0055
    )


def test_every_network_is_built_under_its_name():
    with torch.device("meta"):
        for name in zoo.names():
            network = zoo.build(name, num_classes=7)
            assert network.name == name
            image = torch.zeros(1, 3, 64, 64)
            assert network.eval()(image).logits.shape[1] == 7
            assert zoo.describe(name)


def test_mini_networks_grow():
    with torch.device("meta"):
        sizes = [millions(zoo.build(f"mini_{size}")) for size in ("xs", "s", "m", "l")]
        assert millions(zoo.build("test_mit")) < 0.1
        assert millions(zoo.build("test_deeplab")) < 0.1
    assert sizes == sorted(sizes)
    assert sizes[0] < 0.5
    assert 0.8 < sizes[1] < 1.5
    assert 2 < sizes[2] < 3


def test_names_need_no_torch():
    code = (
        "import sys; from methods.networks import zoo; zoo.names(); zoo.describe('mini_s');"
        "zoo.one_size_up('mini_s'); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_one_size_up_of_a_timm_network_keeps_the_head():
    assert zoo.one_size_up("timm:tf_efficientnet_lite0") == "timm:tf_efficientnet_lite1"
    assert zoo.one_size_up("timm:tf_efficientnet_lite1:topdown") == (
        "timm:tf_efficientnet_lite2:topdown"
    )
    for largest in ("timm:tf_efficientnet_lite2", "timm:resnet18"):
        with pytest.raises(ValueError, match="one size up"):
            zoo.one_size_up(largest)


def test_one_size_up():
    assert zoo.one_size_up("mini_s") == "mini_m"
    assert zoo.one_size_up("daformer_mitb4") == "daformer_mitb5"
    assert zoo.one_size_up("deeplabv2_r50") == "deeplabv2_r101"
    for largest in ("daformer_mitb5", "mini_l", "timm:resnet18", "mmseg:unet/some"):
        with pytest.raises(ValueError, match="one size up"):
            zoo.one_size_up(largest)
    for name in zoo.names():
        larger = zoo.NETWORKS[name].larger
        assert larger is None or larger in zoo.names()


def test_refusals_name_the_remedy():
    with pytest.raises(ValueError, match="did you mean 'daformer_mitb5'"):
        zoo.build("daformer_mit_b5")
    with pytest.raises(ValueError, match="did you mean 'timm:convnext_tiny'"):
        zoo.build("timm:convnext_tinny")
    with pytest.raises(ValueError, match="unknown head 'upernet': expected one of daformer"):
        zoo.build("mini_s", head="upernet")
    with pytest.raises(ValueError, match="no argument widht; it has"):
        zoo.build("mini_s", head_widht=3)
    with pytest.raises(ValueError, match="not a multiple of num_heads"):
        zoo.build("mini_s", num_heads=(1, 2, 5, 7))


def test_overrides_reach_encoder_and_head():
    network = zoo.build("test_mit", head="daformer", head_channels=8, head_dilations=(1, 6))
    assert network.fused_channels == 8
    assert len(network.head.fuse_layer.aspp_modules) == 2
    assert zoo.build("test_mit", embed_dims=(8, 8, 9, 8)).feature_channels == [8, 8, 9, 8]
