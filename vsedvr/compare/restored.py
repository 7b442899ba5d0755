"""A clip restored by a model, as a version to compare; a frame is restored when it is read."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from vsedvr.compare.version import Version
from vsedvr.data.clip import Clip
from vsedvr.data.pairs import to_frame, to_tensor
from vsedvr.data.picture import Frame
from vsedvr.infer import build_stages, clip_windows, in_stages
from vsedvr.model import EDVR

__all__ = ["restored_version"]


def restored_version(
    source: Version,
    clip: Clip,
    name: str,
    purpose: str,
    model: EDVR,
    device: torch.device,
    dtype: torch.dtype,
    refine: EDVR | None = None,
    ensemble: int = 1,
) -> Version:
    """Makes a version from a clip that a model restores. A frame is restored when it is read.

    Args:
        source: the clip as a version, whose name is in the messages of errors.
        clip: the same clip.
        name: name of the model.
        purpose: what the model is for; "" if it is not known.
        model: the network.
        device: device of the engines.
        dtype: floating-point type in which the engines compute.
        refine: a second network, which restores the result of the first one again. It keeps the size.
        ensemble: number of versions of each picture whose mean is the result: 1, 4 or 8.
    """
    models = [model] if refine is None else [model, refine]
    restored = _RestoredClip(source, clip, models, device, dtype, ensemble)
    scale, parameters = model.config.scale, sum(parameter.numel() for each in models for parameter in each.parameters())
    about = ", ".join(filter(None, [purpose, f"x{scale}", f"{parameters / 1e6:.1f} million parameters"]))
    height, width = clip.size
    return Version(name, restored, (scale * height, scale * width), about, source.seconds, restored.close)


class _RestoredClip:
    """Restores frames as the filter does, with its windows, padding, scenes, tiles, two stages and 8-bit output."""

    def __init__(
        self,
        source: Version,
        clip: Clip,
        models: Sequence[EDVR],
        device: torch.device,
        dtype: torch.dtype,
        ensemble: int,
    ) -> None:
        self.source = source
        self.clip = clip
        self.models = models
        self.device = device
        self.dtype = dtype
        self.ensemble = ensemble
        self.restore: Callable[[int], Tensor] | None = None

    def __len__(self) -> int:
        return len(self.clip)

    def __getitem__(self, n: int) -> Frame:
        if self.restore is None:
            engines = build_stages(self.models, self.device, self.dtype, self.clip.size, ensemble=self.ensemble)
            windows = [self._window_of(model) for model in self.models]
            self.restore = in_stages(engines, windows, lambda i: to_tensor(self.source.frame(i)))
        return to_frame(self.restore(n))

    def _window_of(self, model: EDVR) -> Callable[[int], list[int]]:
        windows = clip_windows(model.config, len(self.clip))
        return lambda n: windows.indices_in_scene(n, self.clip.scene_starts)

    def close(self) -> None:
        """Drops the engines with all that they keep, so that only one model at a time takes memory."""
        self.restore = None
