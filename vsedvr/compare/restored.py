"""A clip restored by a model, as a version to compare; a frame is restored when it is read."""

import torch

from vsedvr.compare.version import Version
from vsedvr.data.clip import Clip
from vsedvr.data.pairs import to_frame, to_tensor
from vsedvr.data.picture import Frame
from vsedvr.infer import Engine, build_engine, clip_windows
from vsedvr.model import EDVR

__all__ = ["restored_version"]


def restored_version(
    source: Version, clip: Clip, name: str, purpose: str, model: EDVR, device: torch.device, dtype: torch.dtype
) -> Version:
    """Makes a version from a clip that a model restores. A frame is restored when it is read.

    Args:
        source: the clip as a version, whose name is in the messages of errors.
        clip: the same clip.
        name: name of the model.
        purpose: what the model is for; "" if it is not known.
        model: the network.
        device: device of the engine.
        dtype: floating-point type in which the engine computes.
    """
    restored = _RestoredClip(source, clip, model, device, dtype)
    scale, parameters = model.config.scale, sum(parameter.numel() for parameter in model.parameters())
    about = ", ".join(filter(None, [purpose, f"x{scale}", f"{parameters / 1e6:.1f} million parameters"]))
    height, width = clip.size
    return Version(name, restored, (scale * height, scale * width), about, source.seconds, restored.close)


class _RestoredClip:
    """Restores frames as the filter does, with its windows, padding, scenes, tiles and 8-bit output."""

    def __init__(self, source: Version, clip: Clip, model: EDVR, device: torch.device, dtype: torch.dtype) -> None:
        self.source = source
        self.clip = clip
        self.model = model
        self.device = device
        self.dtype = dtype
        self.engine: Engine | None = None

    def __len__(self) -> int:
        return len(self.clip)

    def __getitem__(self, n: int) -> Frame:
        if self.engine is None:
            self.engine = build_engine(self.model, self.device, self.dtype, self.clip.size)
        indices = clip_windows(self.model.config, len(self.clip)).indices_in_scene(n, self.clip.scene_starts)
        return to_frame(self.engine.restore(indices, lambda i: to_tensor(self.source.frame(i))))

    def close(self) -> None:
        """Drops the engine with all that it keeps, so that only one model at a time takes memory."""
        self.engine = None
