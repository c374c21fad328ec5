"""`bench list` and `bench info` on networks of timm and mmsegmentation."""

from __future__ import annotations

import pytest
from bench_cli import bench, refused

from methods.networks.encoders import timm as timm_encoder


def test_list_shows_the_networks_of_another_library():
    timm = bench("list", "networks", "timm:*convnext_t*", "--format", "plain").out.splitlines()
    assert any(line.split()[:1] == ["timm:convnext_tiny"] for line in timm)
    assert all("convnext_t" in line for line in timm)
    mmseg = bench("list", "networks", "mmseg:*segformer*cityscapes*", "--format", "plain").out
    assert "mmseg:segformer/segformer_mit-b0_8xb1-160k_cityscapes-1024x1024" in mmseg
    assert "ade20k" not in mmseg
    assert "timm:convnext_tiny" in bench("list", "all", "timm:convnext_tiny").out


def test_list_shows_them_only_when_asked():
    assert "timm:" not in bench("list", "networks", "--format", "plain").out
    assert "timm:" not in bench("list", "networks", "*convnext*").out


@pytest.mark.parametrize("kind", ["networks", "all"])
def test_below_the_networks_stands_how_to_list_those_of_other_libraries(kind):
    said = "`bench list networks 'timm:*'`"
    assert said in " ".join(bench("list", kind).out.split())
    assert said not in " ".join(bench("list", "networks", "timm:convnext_tiny").out.split())


@pytest.mark.parametrize(
    ("pattern", "near"),
    [("timm:convnext_tinny", "timm:convnext_tiny"), ("mmseg:segfromer/*", "mmseg:segformer/")],
)
def test_a_pattern_without_a_match_names_the_nearest(pattern, near):
    line = refused(bench("list", "networks", pattern))
    assert f"matches {pattern!r}" in line
    assert near in line


def test_info_shows_the_size_of_a_network_of_another_library():
    timm = bench("info", "timm:convnext_tiny").out
    assert "27.8" in timm
    assert "stages of 96,192,384,768 channels" in " ".join(timm.split())
    name = "mmseg:segformer/segformer_mit-b0_8xb1-160k_cityscapes-1024x1024"
    assert "stages of 32,64,160,256 channels" in " ".join(bench("info", name).out.split())


CONFIG = """
model = dict(
    type="EncoderDecoder",
    backbone=dict(type="MixVisionTransformer", embed_dims=8, num_layers=[1, 1, 1, 1]),
    decode_head=dict(
        type="SegformerHead", in_channels=[8, 16, 40, 64], in_index=[0, 1, 2, 3], channels=16,
        num_classes=19, norm_cfg=dict(type="BN"),
    ),
)
"""


def test_info_of_a_config_file_says_whose_it_is_and_that_it_is_run(tmp_path, caplog):
    (tmp_path / "net.py").write_text(CONFIG)
    shown = bench("info", f"mmseg:{tmp_path / 'net.py'}").out
    assert shown.startswith("mmseg:net.py@")
    assert ": the config file net.py@" in shown
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path / 'net.py'} is a Python program and is run now: give only a file that you trust"
    ]
    caplog.clear()
    assert "no config mmseg:" in refused(bench("info", f"mmseg:{tmp_path / 'gone.py'}"))
    assert not caplog.records, "nothing was run"


def test_info_refuses_an_unknown_one_with_the_nearest():
    assert "'timm:convnext_tiny'" in refused(bench("info", "timm:convnext_tinny"))
    assert "mmseg:segformer/" in refused(bench("info", "mmseg:segformer/segformer_mit-b0"))


def test_info_takes_a_network_of_one_size_and_one_that_needs_storage():
    assert "in tiles of 224x224" in bench("info", "timm:beit_base_patch16_224:topdown").out
    gemma = " ".join(bench("info", "timm:gemma4_vit_167m:topdown").out.split())
    assert "stages of 768,768,768,768" in gemma
    assert "tiles" not in gemma


def test_info_refuses_what_no_padding_makes_fit(monkeypatch):
    monkeypatch.setattr(timm_encoder, "_only_size", lambda *_: None)
    line = refused(bench("info", "timm:visformer_tiny"))
    assert "does not take images of 190x97" in line
    assert "any size" in line
