"""Recognises the key format of an EDVR checkpoint and translates its keys to BasicSR's.

Three implementations were published: BasicSR, the original of 2019 (xinntao/EDVR, old_version) and mmagic. Their weights have
the same layout; only the names differ.
"""

import re
from collections.abc import Callable, Iterable

__all__ = ["key_format", "to_basicsr"]

Rule = tuple[str, str | Callable[[re.Match[str]], str]]

OLD_EDVR: list[Rule] = [
    (r"^fea_L(\d)_conv(\d)\.", r"conv_l\1_\2."),
    (r"^pcd_align\.L(\d)_offset_conv(\d)\.", r"pcd_align.offset_conv\2.l\1."),
    (r"^pcd_align\.L(\d)_dcnpack\.", r"pcd_align.dcn_pack.l\1."),
    (r"^pcd_align\.L(\d)_fea_conv\.", r"pcd_align.feat_conv.l\1."),
    # the next two are swapped: the old tAtt_2 embeds the centre frame, as BasicSR's temporal_attn1 does
    (r"^tsa_fusion\.tAtt_1\.", "fusion.temporal_attn2."),
    (r"^tsa_fusion\.tAtt_2\.", "fusion.temporal_attn1."),
    (r"^tsa_fusion\.fea_fusion\.", "fusion.feat_fusion."),
    (r"^tsa_fusion\.sAtt_(\d)\.", r"fusion.spatial_attn\1."),
    (r"^tsa_fusion\.sAtt_L(\d)\.", r"fusion.spatial_attn_l\1."),
    (r"^tsa_fusion\.sAtt_add_(\d)\.", r"fusion.spatial_attn_add\1."),
    (r"^tsa_fusion\.(weight|bias)$", r"fusion.\1"),
    (r"^recon_trunk\.", "reconstruction."),
    (r"^HRconv\.", "conv_hr."),
    (r"^pre_deblur\.conv_first(?:_1)?\.", "predeblur.conv_first."),
    (r"^pre_deblur\.conv_first_2\.", "predeblur.stride_conv_hr1."),
    (r"^pre_deblur\.conv_first_3\.", "predeblur.stride_conv_hr2."),
    (r"^pre_deblur\.deblur_L(\d)_conv\.", r"predeblur.stride_conv_l\1."),
    (r"^pre_deblur\.RB_L3_1\.", "predeblur.resblock_l3."),
    (r"^pre_deblur\.RB_L2_(\d)\.", r"predeblur.resblock_l2_\1."),
    (r"^pre_deblur\.RB_L1_(\d)\.", lambda match: f"predeblur.resblock_l1.{int(match[1]) - 1}."),
    # the second stage of super-resolution: scale 1 without predeblur, which BasicSR has no names for
    (r"^conv_first_1\.", "conv_first."),
    (r"^conv_first_2\.", "stride_conv_hr1."),
    (r"^conv_first_3\.", "stride_conv_hr2."),
]
MMAGIC: list[Rule] = [
    (r"^feat_l(\d)_conv(\d)\.conv\.", r"conv_l\1_\2."),
    (r"^pcd_alignment\.", "pcd_align."),
    (r"^(pcd_align\.(?:offset_conv\d|feat_conv)\.l\d)\.conv\.", r"\1."),
    (r"^(pcd_align\.cas_offset_conv\d)\.conv\.", r"\1."),
    (r"^(fusion\.\w+)\.conv\.", r"\1."),
    (r"^upsample(\d)\.upsample_conv\.", r"upconv\1."),
]
ALIAS: list[Rule] = [(r"\.conv_offset_mask\.", ".conv_offset.")]

FORMATS: list[tuple[str, tuple[str, ...], list[Rule]]] = [
    ("EDVR of 2019", ("fea_L2_conv", "pcd_align.L1_", "tsa_fusion.", "HRconv."), OLD_EDVR),
    ("mmagic", ("pcd_alignment.", "upsample1.upsample_conv."), MMAGIC),
]
"""Each format other than BasicSR's: its name, beginnings of keys that identify it, and rules that give BasicSR's names."""


def to_basicsr(keys: Iterable[str]) -> dict[str, str]:
    """Maps every key of an EDVR to BasicSR's name for it. Keys that no rule knows keep their names."""
    keys = list(keys)
    _, rules = _find_format(keys)
    return {key: _translate(key, rules + ALIAS) for key in keys}


def key_format(keys: Iterable[str]) -> str:
    """Name of the format that the keys of an EDVR have: "BasicSR", "EDVR of 2019" or "mmagic"."""
    name, _ = _find_format(list(keys))
    return name


def _find_format(keys: list[str]) -> tuple[str, list[Rule]]:
    for name, marks, rules in FORMATS:
        if any(key.startswith(marks) for key in keys):
            return name, rules
    return "BasicSR", []


def _translate(key: str, rules: list[Rule]) -> str:
    for pattern, replacement in rules:
        key = re.sub(pattern, replacement, key)
    return key
