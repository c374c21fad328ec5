"""Published parameter names to ours. Pure functions on state dictionaries; nothing is read here.

Ours are `encoder.*` and `head.*`: the encoder's as in SegFormer's and timm's own files, the head's
as in DAFormer's and SegFormer's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

import torch

from methods.networks.checkpoint_shells import State

#: Image classifiers and training aids at the end of encoder files; no Segmentor has them.
_CLASSIFIER = re.compile(r"(head\.(weight|bias|fc|norm)|head_dist|fc|classifier|auxiliary_head)\b")
_AUXILIARY_HEAD = re.compile(r"auxiliary_head\b")
#: Reads a file by the names of the encoder's own library; None where it is no such file.
FromPublished = Callable[[State], "tuple[State, str] | None"]


def convert(
    state: State,
    expected: Collection[str],
    from_published: FromPublished | None = None,
) -> tuple[State, str]:
    """Rename a file's parameters to the `expected` names of a network, as far as is known.

    `from_published` is the encoder's own reading of files, where it has one (timm's).
    Returns the renamed parameters and a description of the format found. What is not recognised
    keeps its name, so that a strict load names it. Raises ValueError where the file is known not
    to fit; the message goes on from the file's name.
    """
    if state.keys() == set(expected):
        return state, "uda-bench weights"
    own_names = {key.removeprefix("encoder.") for key in expected if key.startswith("encoder.")}
    if any(".conv2d_list." in key for key in state):
        if "conv1.0.weight" in own_names:
            _refuse_other_resnets(state)
        return _adaptsegnet(state), "DeepLab-V2 of AdaptSegNet"
    # HRDA's head wraps the one that sees both scales.
    state = {re.sub(r"^decode_head\.head\.", "decode_head.", k): v for k, v in state.items()}
    encoder, rest = state, State()
    published = from_published(encoder) if from_published else None
    if not published:  # perhaps behind a prefix
        encoder, rest = _split(state)
        published = from_published(encoder) if from_published else None
    encoder, encoder_format = published or _encoder(encoder, own_names)
    rest, head_format = _head(rest)
    if "head.linear_pred.weight" in expected:  # ours; that library's own network keeps its names
        rest = _segformer_head_from_mmseg(rest)
    converted = {f"encoder.{key}": value for key, value in encoder.items()} | rest
    return converted, ", ".join(filter(None, (encoder_format, head_format)))


def _adaptsegnet(state: State) -> State:
    """ResNet-101 and a classifier of four dilated convolutions; another stage's is left out.

    Of the four its code adds the first two alone (dilations 6 and 12): the others never learned.
    Its COCO weights have `Scale.` before each name, and `layer5` for the classifier.
    """
    state = {key.removeprefix("Scale."): value for key, value in state.items()}
    last = "layer6" if "layer6.conv2d_list.0.weight" in state else "layer5"
    renamed = {}
    for key, value in state.items():
        if match := re.match(rf"{last}\.conv2d_list\.([01])\.(\w+)", key):
            renamed[f"head.aspp_modules.{match[1]}.conv.{match[2]}"] = value
        elif not key.startswith(("layer5.", "layer6.")):
            renamed[f"encoder.{key}"] = value
    return renamed


def _split(state: State) -> tuple[State, State]:
    """(encoder's parameters without a prefix, the others), less classifiers and training aids."""
    for prefix in ("backbone.", "segformer.encoder.", "segformer.", "encoder."):
        if any(key.startswith(prefix) for key in state):
            # "head." of our own files is no image classifier.
            dropped = _CLASSIFIER if prefix.startswith("segformer.") else _AUXILIARY_HEAD
            state = {k: v for k, v in state.items() if not dropped.match(k)}
            encoder = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
            return encoder, {k: v for k, v in state.items() if not k.startswith(prefix)}
    return {k: v for k, v in state.items() if not _CLASSIFIER.match(k)}, {}


def _encoder(state: State, own_names: set[str]) -> tuple[State, str]:
    """The encoder's parameters by our names, and what they were."""
    if "patch_embed1.proj.weight" in state:
        return state, "MiT encoder"
    if state.keys() == own_names:
        return state, "encoder"
    if "stages.0.patch_embeddings.proj.weight" in state:  # of transformers 5
        state = _mit_by_older_names(state)
    if "patch_embeddings.0.proj.weight" in state:
        return _mit_from_hugging_face(state), "MiT encoder of Hugging Face"
    if "layers.0.0.projection.weight" in state:
        return _mit_from_mmseg(state), "MiT encoder of mmsegmentation"
    if "stem.0.weight" in state and "layer1.0.conv1.weight" in state:
        return _resnet_from_mmseg(state), "ResNet v1c encoder of mmsegmentation"
    if "conv1.0.weight" in own_names:
        _refuse_other_resnets(state)
    return state, "encoder"


def _refuse_other_resnets(state: State) -> None:
    """Raise ValueError for the ResNets whose parameters cannot stand in a v1c."""
    remedy = "take weights of ResNet v1c (mmsegmentation) or of resnet50c or resnet101c (timm)"
    if "conv1.weight" in state:
        raise ValueError(
            "is a ResNet with the plain 7x7 stem, and this network has the deep stem of three 3x3 "
            f"convolutions: {remedy}; AdaptSegNet's and ADVENT's fit deeplabv2_r101_caffe"
        )
    if "layer2.0.downsample.2.weight" in state:
        raise ValueError(
            f"is a ResNet that averages in its shortcuts ('d'), and this network does not: {remedy}"
        )


def _mit_from_mmseg(state: State) -> State:
    """layers.S.0 is a patch embedding, layers.S.1.B a block, layers.S.2 the stage's norm."""
    renamed = {}
    for key, value in state.items():
        key = re.sub(r"^layers\.(\d+)\.0\.projection\.", _stage("patch_embed{}.proj."), key)
        key = re.sub(r"^layers\.(\d+)\.0\.", _stage("patch_embed{}."), key)
        key = re.sub(r"^layers\.(\d+)\.1\.", _stage("block{}."), key)
        key = re.sub(r"^layers\.(\d+)\.2\.", _stage("norm{}."), key)
        key = key.replace("ffn.layers.1.", "mlp.dwconv.dwconv.")
        key = key.replace("attn.attn.out_proj.", "attn.proj.")
        for index, linear in (("0", "fc1"), ("4", "fc2")):
            if f"ffn.layers.{index}." in key:  # 1x1 convolutions for linear layers
                key = key.replace(f"ffn.layers.{index}.", f"mlp.{linear}.")
                value = value.flatten(1) if value.dim() == 4 else value
        if "attn.attn.in_proj_" in key:  # queries, keys and values in one
            width = len(value) // 3
            renamed[key.replace("attn.attn.in_proj_", "attn.q.")] = value[:width]
            renamed[key.replace("attn.attn.in_proj_", "attn.kv.")] = value[width:]
        else:
            renamed[key] = value
    return renamed


_HUGGING_FACE_BLOCK = {
    "attention.self.query.": "attn.q.",
    "attention.self.sr.": "attn.sr.",
    "attention.self.layer_norm.": "attn.norm.",
    "attention.output.dense.": "attn.proj.",
    "layer_norm_1.": "norm1.",
    "layer_norm_2.": "norm2.",
    "mlp.dense1.": "mlp.fc1.",
    "mlp.dense2.": "mlp.fc2.",
}


#: What transformers 5 calls a part -> what it was called before.
_HUGGING_FACE_RENAMED = {
    r"^stages\.(\d+)\.patch_embeddings\.": r"patch_embeddings.\1.",
    r"^stages\.(\d+)\.layer_norm\.": r"layer_norm.\1.",
    r"^stages\.(\d+)\.blocks\.": r"block.\1.",
    r"\.attention\.sequence_reduction\.sequence_reduction\.": ".attention.self.sr.",
    r"\.attention\.sequence_reduction\.layer_norm\.": ".attention.self.layer_norm.",
    r"\.attention\.q_proj\.": ".attention.self.query.",
    r"\.attention\.k_proj\.": ".attention.self.key.",
    r"\.attention\.v_proj\.": ".attention.self.value.",
    r"\.attention\.o_proj\.": ".attention.output.dense.",
    r"\.layernorm_before\.": ".layer_norm_1.",
    r"\.layernorm_after\.": ".layer_norm_2.",
    r"\.mlp\.fc(\d)\.": r".mlp.dense\1.",
}


def _mit_by_older_names(state: State) -> State:
    renamed = {}
    for key, value in state.items():
        for theirs, older in _HUGGING_FACE_RENAMED.items():
            key = re.sub(theirs, older, key)
        renamed[key] = value
    return renamed


def _mit_from_hugging_face(state: State) -> State:
    """Its stages count from 0, and its attention holds keys and values apart."""
    renamed = {}
    for key, value in state.items():
        if "attention.self.value." in key:
            continue
        if "attention.self.key." in key:
            value = torch.cat([value, state[key.replace("self.key.", "self.value.")]])
            key = key.replace("attention.self.key.", "attn.kv.")
        key = re.sub(r"^patch_embeddings\.(\d+)\.proj\.", _stage("patch_embed{}.proj."), key)
        key = re.sub(r"^patch_embeddings\.(\d+)\.layer_norm\.", _stage("patch_embed{}.norm."), key)
        key = re.sub(r"^layer_norm\.(\d+)\.", _stage("norm{}."), key)
        key = re.sub(r"^block\.(\d+)\.", _stage("block{}."), key)
        for their_name, our_name in _HUGGING_FACE_BLOCK.items():
            key = key.replace(their_name, our_name)
        renamed[key] = value
    return renamed


def _stage(name: str) -> Callable[[re.Match[str]], str]:
    """A replacement that counts the matched stage from 1."""
    return lambda match: name.format(int(match[1]) + 1)


def _resnet_from_mmseg(state: State) -> State:
    """The stem is one sequence there; the last norm of it is `bn1` in timm."""
    state = {re.sub(r"^stem\.7\.", "bn1.", key): value for key, value in state.items()}
    return {re.sub(r"^stem\.", "conv1.", key): value for key, value in state.items()}


_EFFICIENTNET = {
    "_conv_stem.": "conv_stem.",
    "_bn0.": "bn1.",
    "_conv_head.": "conv_head.",
    "_bn1.": "bn2.",
    "_fc.": "classifier.",
}
#: A block's parts where it widens its channels first (inverted residual), and where it does not.
_INVERTED_RESIDUAL = {
    "_expand_conv.": "conv_pw.",
    "_bn0.": "bn1.",
    "_depthwise_conv.": "conv_dw.",
    "_bn1.": "bn2.",
    "_se_reduce.": "se.conv_reduce.",
    "_se_expand.": "se.conv_expand.",
    "_project_conv.": "conv_pwl.",
    "_bn2.": "bn3.",
}
_SEPARABLE = _INVERTED_RESIDUAL | {"_bn1.": "bn1.", "_project_conv.": "conv_pw.", "_bn2.": "bn2."}


def efficientnet_names(state: State, timm_names: Collection[str]) -> State:
    """EfficientNets by timm's names out of efficientnet_pytorch's; {} for other files.

    That library counts blocks through, timm within stages: `_blocks.N` is the Nth of the
    `blocks.STAGE.BLOCK` among `timm_names`, those of the whole network.
    """
    if "_conv_stem.weight" not in state:
        return {}
    names = {match[1] for name in timm_names if (match := re.match(r"(blocks\.\d+\.\d+)\.", name))}
    blocks = sorted(names, key=lambda block: [int(number) for number in block.split(".")[1:]])
    renamed = {}
    for key, value in state.items():
        prefix, parts, name = "", _EFFICIENTNET, key
        if match := re.match(r"_blocks\.(\d+)\.(.*)", key):
            number, name = int(match[1]), match[2]
            prefix = f"{blocks[number]}." if number < len(blocks) else f"blocks.{number}."
            widens = f"_blocks.{number}._expand_conv.weight" in state
            parts = _INVERTED_RESIDUAL if widens else _SEPARABLE
        part = name[: name.index(".") + 1]
        renamed[prefix + parts.get(part, part) + name.removeprefix(part)] = value
    return renamed


def _head(state: State) -> tuple[State, str]:
    """The head's parameters by our names, and what they were."""
    state = {re.sub(r"^decode_head\.", "head.", key): value for key, value in state.items()}
    state, attention = _scale_attention(state)
    if attention:
        head, origin = _head(state)
        return head | attention, f"{origin} and scale attention of HRDA"
    state = {
        re.sub(r"^head\.linear_projections\.", "head.linear_c.", key): value  # of transformers 5
        for key, value in state.items()
    }
    if "head.linear_c.0.proj.weight" in state:
        for theirs, ours in (
            (r"^head\.linear_c\.(\d+)\.", _stage("head.linear_c{}.")),
            (r"^head\.linear_fuse\.", "head.linear_fuse.conv."),
            (r"^head\.batch_norm\.", "head.linear_fuse.bn."),
            (r"^head\.classifier\.", "head.linear_pred."),
        ):
            state = {re.sub(theirs, ours, key): value for key, value in state.items()}
        return state, "SegFormer head of Hugging Face"
    if "head.linear_pred.weight" in state:  # its files hold a second classifier that is not used
        state = {k: v for k, v in state.items() if not k.startswith("head.conv_seg.")}
        return state, "SegFormer head"
    if "head.fusion_conv.conv.weight" in state:
        return state, "SegFormer head of mmsegmentation"
    if "head.fuse_layer.bottleneck.conv.weight" in state:
        return state, "DAFormer head"
    return state, "head" if state else ""


def _scale_attention(state: State) -> tuple[State, State]:
    """(the other parameters, those of HRDA's attention by the names of our all-MLP head)."""
    prefix = "head.scale_attention."
    attention = {}
    for key, value in state.items():
        if not key.startswith(prefix):
            continue
        name = key.removeprefix(prefix)
        name = re.sub(r"^embed_layers\.(\d+)\.", _stage("linear_c{}."), name)
        name = re.sub(r"^fuse_layer\.", "linear_fuse.", name)
        name = re.sub(r"^conv_seg\.", "linear_pred.", name)
        if name == "linear_fuse.conv.weight":
            value = _coarsest_first(value)
        attention[f"attention_head.{name}"] = value
    return {k: v for k, v in state.items() if not k.startswith(prefix)}, attention


def _segformer_head_from_mmseg(state: State) -> State:
    """convs.S embeds a stage and fusion_conv fuses them, the finest first."""
    if "head.fusion_conv.conv.weight" not in state:
        return state
    renamed = {}
    for key, value in state.items():
        if key == "head.fusion_conv.conv.weight":
            value = _coarsest_first(value)
        key = re.sub(r"^head\.convs\.(\d+)\.", _stage("head.linear_c{}."), key)
        key = key.replace("head.fusion_conv.", "head.linear_fuse.")
        renamed[key.replace("head.conv_seg.", "head.linear_pred.")] = value
    return renamed


def _coarsest_first(fusion: torch.Tensor) -> torch.Tensor:
    """A 1x1 fusion (C, stages * C, 1, 1) of stages in the other order."""
    stages = fusion.split(len(fusion), dim=1)
    return torch.cat(stages[::-1], dim=1)
