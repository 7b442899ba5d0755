"""The network EDVR (Wang et al., "EDVR: Video Restoration with Enhanced Deformable Convolutional Networks", CVPRW 2019)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vsedvr.model.blocks import SLOPE, Conv, Conv3x3, ResidualBlock, make_conv
from vsedvr.model.pcd import FrameFeatures, PCDAlignment
from vsedvr.model.predeblur import PredeblurModule
from vsedvr.model.tsa import TSAFusion
from vsedvr.ops import upsample

__all__ = ["EDVR", "EDVRConfig"]


@dataclass(frozen=True)
class EDVRConfig:
    """Hyper-parameters of an EDVR, under BasicSR's names; the defaults are those of EDVR-M for x4 super-resolution.

    Raises:
        ValueError: if no network can be built from the values.
    """

    num_in_ch: int = 3
    num_out_ch: int = 3
    num_feat: int = 64
    """Number of feature channels: 64 in the M models, 128 in the L models."""
    num_frame: int = 5
    """Number of frames in the window, which is odd and at least 3."""
    deformable_groups: int = 8
    """Number of channel groups with their own offsets in the deformable convolutions."""
    num_extract_block: int = 5
    """Number of residual blocks before the alignment."""
    num_reconstruct_block: int = 10
    """Number of residual blocks after the fusion."""
    center_frame_idx: int | None = None
    """Position of the restored frame in the window, from 0; None is the middle."""
    scale: int = 4
    """How many times as high and as wide as the input the output is: 1, 2 or 4. With 1 (BasicSR calls it hr_in), features have
    a quarter of the input's height and width, otherwise they have the input's size."""
    with_predeblur: bool = False
    """Whether the PreDeblur module cleans each frame before the alignment, for blurred or compressed input."""
    with_tsa: bool = True
    """Whether frames are fused with attention (TSA) instead of a 1x1 convolution."""
    num_tail_feat: int = 64
    """Number of channels after the last upsampling: 64 in every published model."""

    def __post_init__(self) -> None:
        for name in ("num_in_ch", "num_out_ch", "num_feat", "deformable_groups", "num_tail_feat"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.scale not in (1, 2, 4):
            raise ValueError(f"scale must be 1, 2 or 4, got {self.scale}")
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
        """Position of the restored frame in the window, from 0."""
        return self.num_frame // 2 if self.center_frame_idx is None else self.center_frame_idx

    @property
    def stride(self) -> int:
        """Pixels of the input per position of the features, in each direction: 4 if scale is 1, otherwise 1."""
        return 4 if self.scale == 1 else 1

    @property
    def enlargement(self) -> int:
        """How many times the reconstruction enlarges the features, in each direction: 2 if scale is 2, otherwise 4."""
        return self.scale * self.stride

    @property
    def size_multiple(self) -> int:
        """Number that the input's height and width must be multiples of, as the pyramid halves the features twice."""
        return 4 * self.stride


class EDVR(nn.Module):
    """The EDVR network. It extracts features of each frame, aligns them to the centre frame, fuses and reconstructs.

    `forward` calls the methods extract, align, fuse and reconstruct in order. The engine, which restores whole clips, calls
    them one by one and keeps what `extract` returns, because that depends on a single frame.
    """

    def __init__(self, config: EDVRConfig | None = None, device: torch.device | str = "cpu") -> None:
        """Makes a network with random weights in float32, whatever PyTorch's default data type and device are.

        Args:
            config: the hyper-parameters; by default those of EDVR-M for x4 super-resolution.
            device: device of the weights. On "meta" they take no memory, for a network that gets other weights at once.
        """
        super().__init__()
        self.config = config or EDVRConfig()
        with torch.device(device):
            self._add_layers(self.config)

    def _add_layers(self, config: EDVRConfig) -> None:
        num_feat = config.num_feat
        if config.with_predeblur:
            self.predeblur = PredeblurModule(config.num_in_ch, num_feat, hr_in=config.scale == 1)
            self.conv_1x1 = make_conv(num_feat, num_feat, 1)
        else:
            self.conv_first = make_conv(config.num_in_ch, num_feat)
            if config.scale == 1:
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
        if config.enlargement == 4:
            self.upconv1 = Conv3x3(num_feat, num_feat * 4, shuffle=True)
            self.upconv2 = Conv3x3(num_feat, config.num_tail_feat * 4, shuffle=True)
        else:
            self.upconv1 = Conv3x3(num_feat, config.num_tail_feat * 4, shuffle=True)
        self.conv_hr = make_conv(config.num_tail_feat, config.num_tail_feat)
        self.conv_last = make_conv(config.num_tail_feat, config.num_out_ch)

    def pack(self) -> None:
        """Prepares the network for running without gradients, once its weights, device and data type are final.

        Convolutions of two frames (SplitConv) keep each frame's half of their weights. On a CPU in float32 the weights of
        all convolutions are packed, which takes four times their memory: each convolution is then one pass over memory,
        together with the activations, additions, joined inputs and pixel_shuffle around it. On a GPU all that follows a
        convolution is one kernel. With gradients the network runs as before.
        """
        for module in self.modules():
            if isinstance(module, Conv | Conv3x3 | TSAFusion):
                module.pack()

    def forward(self, lq: Tensor) -> Tensor:
        """Restores the window's centre frame.

        Args:
            lq: the window, (b, num_frame, num_in_ch, h, w) in [0, 1]; h and w are multiples of config.size_multiple.

        Returns:
            The restored frame, (b, num_out_ch, scale * h, scale * w), not clamped.

        Raises:
            ValueError: if lq has another shape.
        """
        self._check_shape(lq)
        frames = [self.extract(frame) for frame in lq.unbind(1)]
        aligned = [self.align(frame, frames[self.config.center]) for frame in frames]
        return self.reconstruct(self.fuse(aligned), lq[:, self.config.center])

    def extract(self, frame: Tensor) -> FrameFeatures:
        """Computes the features of one frame, (b, num_in_ch, h, w), that do not depend on any other frame."""
        feat_l1 = self.feature_extraction(self._first_features(frame))
        feat_l2 = self.conv_l2_2(self.conv_l2_1(feat_l1, slope=SLOPE), SLOPE)
        feat_l3 = self.conv_l3_2(self.conv_l3_1(feat_l2, slope=SLOPE), SLOPE)
        return self.pcd_align.prepare(feat_l1, feat_l2, feat_l3)

    def align(self, nbr: FrameFeatures, ref: FrameFeatures) -> Tensor:
        """Aligns a frame's features to the reference frame, which may be the same; returns (b, num_feat, h, w)."""
        return self.pcd_align(nbr, ref)

    def align_all(self, frames: Sequence[FrameFeatures], ref: FrameFeatures) -> list[Tensor]:
        """Aligns several frames' features to the reference frame at once; `align` is called once, on a batch of all.

        A GPU has fewer kernels to launch and larger ones, but needs the memory of one alignment for each frame. The result
        is the same within rounding, and bit for bit where the compiled kernels for CPUs run.

        Returns:
            What `align` returns for each frame, (b, num_feat, h, w).
        """
        batch = len(ref.cas_offset_ref)

        def joined(maps: Sequence[Sequence[Tensor]]) -> tuple[Tensor, ...]:
            return tuple(torch.cat(level) for level in zip(*maps, strict=True))

        def repeated(share: Tensor) -> Tensor:
            return torch.cat([share] * len(frames))

        nbr = FrameFeatures(
            feat=joined([frame.feat for frame in frames]),
            offset_nbr=joined([frame.offset_nbr for frame in frames]),
            offset_ref=ref.offset_ref,
            cas_offset_ref=ref.cas_offset_ref,
        )
        ref = ref._replace(
            offset_ref=ref.offset_ref if batch == 1 else tuple(map(repeated, ref.offset_ref)),  # one is added to all as it is
            cas_offset_ref=repeated(ref.cas_offset_ref),
        )
        return list(self.align(nbr, ref).chunk(len(frames)))

    def fuse(self, aligned: Sequence[Tensor]) -> Tensor:
        """Fuses the num_frame aligned frames, given in the window's order, each (b, num_feat, h, w), to the same shape."""
        return self.fusion(*aligned)

    def reconstruct(self, feat: Tensor, center: Tensor, rows: int | None = None) -> Tensor:
        """Reconstructs the restored frame: computes a residual from the fused features and adds it to the centre frame.

        Args:
            feat: fused features, (b, num_feat, h / stride, w / stride), where stride is config.stride.
            center: the centre frame of the window, (b, num_in_ch, h, w).
            rows: number of rows of features that are enlarged at a time, at least 1; None enlarges all at once. Maps at the
                size of the output are up to 16 times as large as all others, so fewer rows take less memory. The result is
                the same within rounding.

        Returns:
            The restored frame, (b, num_out_ch, scale * h, scale * w), not clamped.
        """
        feat = self.reconstruction(feat)
        return self._enlarge(feat, center) if rows is None else self._enlarge_in_strips(feat, center, rows)

    def _enlarge(self, feat: Tensor, center: Tensor) -> Tensor:
        for upconv in self._upconvs():
            feat = upconv(feat, SLOPE)
        return self.conv_last(self.conv_hr(feat, SLOPE)) + self._enlarged(center)

    def _enlarge_in_strips(self, feat: Tensor, center: Tensor, rows: int) -> Tensor:
        """Enlarges the features in strips of some rows and joins the strips, which takes less memory than all at once."""
        height = feat.shape[2]
        strips = [self._residual(feat, top, min(top + rows, height)) for top in range(0, height, rows)]
        return torch.cat(strips, 2) + self._enlarged(center)

    def _residual(self, feat: Tensor, top: int, bottom: int) -> Tensor:
        """Computes the residual for feature rows top..bottom - 1; each convolution makes the rows that the next one reads."""
        height, first = feat.shape[2], 0  # first is the row of the picture, at its current size, that feat begins with
        enlargement = self.config.enlargement
        for conv, scale, slope, more in (
            *((upconv, 2**k, SLOPE, 1) for k, upconv in enumerate(self._upconvs())),
            (self.conv_hr, enlargement, SLOPE, 1),
            (self.conv_last, enlargement, 1, 0),
        ):
            begin, end = max(scale * top - more, 0), min(scale * bottom + more, scale * height)
            feat = conv(feat, slope, rows=(begin - first, end - begin))
            first = 2 * begin if conv.shuffle else begin
        return feat

    def _upconvs(self) -> list[Conv3x3]:
        """The convolutions that each double height and width of the features."""
        return [self.upconv1, self.upconv2] if self.config.enlargement == 4 else [self.upconv1]

    def _enlarged(self, center: Tensor) -> Tensor:
        """Enlarges the centre frame to the size of the output; with scale 1 it is returned as it is."""
        return center if self.config.scale == 1 else upsample(center, self.config.scale)

    def _first_features(self, frame: Tensor) -> Tensor:
        if self.config.with_predeblur:
            return self.conv_1x1(self.predeblur(frame))
        feat = self.conv_first(frame, SLOPE)
        if self.config.scale == 1:
            feat = self.stride_conv_hr2(self.stride_conv_hr1(feat, slope=SLOPE), slope=SLOPE)
        return feat

    def _check_shape(self, lq: Tensor) -> None:
        config, multiple = self.config, self.config.size_multiple
        if lq.ndim != 5 or lq.shape[1:3] != (config.num_frame, config.num_in_ch):
            raise ValueError(f"lq must have the shape (b, {config.num_frame}, {config.num_in_ch}, h, w), got {tuple(lq.shape)}")
        if lq.shape[3] % multiple or lq.shape[4] % multiple:
            raise ValueError(f"lq must have height and width in multiples of {multiple}, got {tuple(lq.shape)}")
