"""EDVR (Wang et al., "EDVR: Video Restoration with Enhanced Deformable Convolutional Networks", CVPR workshops 2019)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vsedvr.model.blocks import ResidualBlock, lrelu, make_conv, upsample
from vsedvr.model.pcd import FrameFeatures, PCDAlignment
from vsedvr.model.predeblur import PredeblurModule
from vsedvr.model.tsa import TSAFusion

__all__ = ["EDVR", "EDVRConfig"]


@dataclass(frozen=True)
class EDVRConfig:
    """Hyper-parameters of the network, under BasicSR's names; the defaults are those of EDVR-M, x4.

    Raises:
        ValueError: for values that no network can be built from.
    """

    num_in_ch: int = 3
    num_out_ch: int = 3
    num_feat: int = 64
    """Channels of the features: 64 in the M models, 128 in the L models."""
    num_frame: int = 5
    """Frames in the window; an odd number."""
    deformable_groups: int = 8
    """Groups of channels that have offsets of their own in the deformable convolutions."""
    num_extract_block: int = 5
    """Residual blocks before the alignment."""
    num_reconstruct_block: int = 10
    """Residual blocks after the fusion."""
    center_frame_idx: int | None = None
    """Position of the restored frame in the window; None is the middle."""
    hr_in: bool = False
    """Whether the output has the size of the input: two strided convolutions then make the features four times smaller."""
    with_predeblur: bool = False
    """Whether the PreDeblur module cleans each frame first, for blurred or compressed input."""
    with_tsa: bool = True
    """Whether frames are fused with attention (TSA); else by a 1x1 convolution."""
    num_tail_feat: int = 64
    """Channels after the second upsampling; 64 in every published model."""

    def __post_init__(self) -> None:
        for name in ("num_in_ch", "num_out_ch", "num_feat", "deformable_groups", "num_tail_feat"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("num_extract_block", "num_reconstruct_block"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if self.num_frame < 3 or self.num_frame % 2 == 0:
            raise ValueError(f"num_frame must be odd and at least 3, got {self.num_frame}")
        if not 0 <= self.center < self.num_frame:
            raise ValueError(f"center_frame_idx must be within 0..{self.num_frame - 1}, got {self.center_frame_idx}")
        if self.num_feat % self.deformable_groups:
            raise ValueError(f"num_feat {self.num_feat} is not a multiple of deformable_groups {self.deformable_groups}")
        if self.num_in_ch != self.num_out_ch:
            raise ValueError(
                f"num_in_ch {self.num_in_ch} and num_out_ch {self.num_out_ch} differ: the output adds to the input"
            )

    @property
    def center(self) -> int:
        """Position of the restored frame in the window."""
        return self.num_frame // 2 if self.center_frame_idx is None else self.center_frame_idx

    @property
    def scale(self) -> int:
        """Size of the output over that of the input, in each direction."""
        return 1 if self.hr_in else 4

    @property
    def stride(self) -> int:
        """Pixels of the input per position of the features, in each direction: 1, or 4 with hr_in."""
        return 4 if self.hr_in else 1

    @property
    def size_multiple(self) -> int:
        """Height and width of the input must be multiples of this: the pyramid of features halves them twice."""
        return 4 * self.stride


class EDVR(nn.Module):
    """The network: extract each frame, align each neighbour, fuse, reconstruct.

    `forward` calls these four methods in order. The engine, which goes through a clip, calls them one by one and keeps what
    `extract` returns, because it depends on one frame only.
    """

    def __init__(self, config: EDVRConfig | None = None, device: torch.device | str = "cpu") -> None:
        """A network with random weights in float32, whatever PyTorch's default type and device are.

        Args:
            config: hyper-parameters; EDVR-M, x4 by default.
            device: where the weights lie. On "meta" they have no memory, for a network that gets other weights at once.
        """
        super().__init__()
        self.config = config or EDVRConfig()
        with torch.device(device):
            self._add_layers(self.config)

    def _add_layers(self, config: EDVRConfig) -> None:
        num_feat = config.num_feat
        if config.with_predeblur:
            self.predeblur = PredeblurModule(config.num_in_ch, num_feat, config.hr_in)
            self.conv_1x1 = make_conv(num_feat, num_feat, 1)
        else:
            self.conv_first = make_conv(config.num_in_ch, num_feat)
            if config.hr_in:
                self.stride_conv_hr1 = make_conv(num_feat, num_feat, stride=2)
                self.stride_conv_hr2 = make_conv(num_feat, num_feat, stride=2)
        self.feature_extraction = nn.Sequential(*(ResidualBlock(num_feat) for _ in range(config.num_extract_block)))
        self.conv_l2_1 = make_conv(num_feat, num_feat, stride=2)
        self.conv_l2_2 = make_conv(num_feat, num_feat)
        self.conv_l3_1 = make_conv(num_feat, num_feat, stride=2)
        self.conv_l3_2 = make_conv(num_feat, num_feat)

        self.pcd_align = PCDAlignment(num_feat, config.deformable_groups)
        self.fusion: nn.Module = (
            TSAFusion(num_feat, config.num_frame, config.center)
            if config.with_tsa
            else make_conv(config.num_frame * num_feat, num_feat, 1)
        )

        self.reconstruction: nn.Module = nn.Sequential(*(ResidualBlock(num_feat) for _ in range(config.num_reconstruct_block)))
        self.upconv1 = make_conv(num_feat, num_feat * 4)
        self.upconv2 = make_conv(num_feat, config.num_tail_feat * 4)
        self.conv_hr = make_conv(config.num_tail_feat, config.num_tail_feat)
        self.conv_last = make_conv(config.num_tail_feat, config.num_out_ch)

    def forward(self, lq: Tensor) -> Tensor:
        """Restores the window's centre frame.

        Args:
            lq: (b, num_frame, num_in_ch, h, w) in [0, 1]; h and w multiples of config.size_multiple.

        Returns:
            (b, num_out_ch, scale * h, scale * w), not clamped.

        Raises:
            ValueError: if the shape is another one.
        """
        self._check_shape(lq)
        frames = [self.extract(frame) for frame in lq.unbind(1)]
        aligned = [self.align(frame, frames[self.config.center]) for frame in frames]
        return self.reconstruct(self.fuse(aligned), lq[:, self.config.center])

    def extract(self, frame: Tensor) -> FrameFeatures:
        """Computes all that depends on one frame (b, num_in_ch, h, w) only."""
        feat_l1 = self.feature_extraction(self._first_features(frame))
        feat_l2 = lrelu(self.conv_l2_2(lrelu(self.conv_l2_1(feat_l1))))
        feat_l3 = lrelu(self.conv_l3_2(lrelu(self.conv_l3_1(feat_l2))))
        return self.pcd_align.prepare(feat_l1, feat_l2, feat_l3)

    def align(self, nbr: FrameFeatures, ref: FrameFeatures) -> Tensor:
        """Aligns the features of one frame to the reference frame, which may be the same one: (b, num_feat, h, w)."""
        return self.pcd_align(nbr, ref)

    def fuse(self, aligned: Sequence[Tensor]) -> Tensor:
        """Fuses the num_frame aligned frames, in the order of the window: (b, num_feat, h, w)."""
        return self.fusion(aligned if self.config.with_tsa else torch.cat(list(aligned), 1))

    def reconstruct(self, feat: Tensor, center: Tensor, rows: int | None = None) -> Tensor:
        """The restored frame, from the fused features and the centre frame, to which it adds.

        Args:
            feat: fused features, (b, num_feat, h / stride, w / stride) with stride of the configuration.
            center: the centre frame of the window, (b, num_in_ch, h, w).
            rows: how many rows of features are enlarged at a time, at least 1; None enlarges them in one piece. The maps at
                the size of the output are up to 16 times as large as all others, so fewer rows take less memory; the result
                is the same within rounding.

        Returns:
            (b, num_out_ch, scale * h, scale * w), not clamped.
        """
        feat = self.reconstruction(feat)
        return self._enlarge(feat, center) if rows is None else self._enlarge_in_strips(feat, center, rows)

    def _enlarge(self, feat: Tensor, center: Tensor) -> Tensor:
        feat = lrelu(F.pixel_shuffle(self.upconv1(feat), 2))
        feat = lrelu(F.pixel_shuffle(self.upconv2(feat), 2))
        residual = self.conv_last(lrelu(self.conv_hr(feat)))
        return residual + (center if self.config.hr_in else upsample(center, 4))

    def _enlarge_in_strips(self, feat: Tensor, center: Tensor, rows: int) -> Tensor:
        """Strips of some rows, joined.

        A strip reads 2 rows beyond itself, as far as its convolutions see: 1 row for upconv1, 1/2 for upconv2, and 1/4 each for
        conv_hr and conv_last.
        """
        height, stride = feat.shape[2], self.config.stride
        strips = []
        for top in range(0, height, rows):
            bottom, first, last = min(top + rows, height), max(top - 2, 0), min(top + rows + 2, height)
            strip = self._enlarge(feat[:, :, first:last], center[:, :, stride * first : stride * last])
            strips.append(strip[:, :, 4 * (top - first) : 4 * (bottom - first)])
        return torch.cat(strips, 2)

    def _first_features(self, frame: Tensor) -> Tensor:
        if self.config.with_predeblur:
            return self.conv_1x1(self.predeblur(frame))
        feat = lrelu(self.conv_first(frame))
        if self.config.hr_in:
            feat = lrelu(self.stride_conv_hr2(lrelu(self.stride_conv_hr1(feat))))
        return feat

    def _check_shape(self, lq: Tensor) -> None:
        config, multiple = self.config, self.config.size_multiple
        if lq.ndim != 5 or lq.shape[1:3] != (config.num_frame, config.num_in_ch):
            raise ValueError(f"lq must have the shape (b, {config.num_frame}, {config.num_in_ch}, h, w), got {tuple(lq.shape)}")
        if lq.shape[3] % multiple or lq.shape[4] % multiple:
            raise ValueError(f"lq must have height and width in multiples of {multiple}, got {tuple(lq.shape)}")
