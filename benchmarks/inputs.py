"""Inputs of all speed benchmarks: weights like those of a trained network, and a moving clip."""

import torch

__all__ = ["moving_texture", "random_weights"]


def random_weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Gives a network random weights with which, as after training, offsets spread over a few pixels and the residual is small.

    Returns:
        The state dict of the network.
    """
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if name.endswith("conv_offset.weight"):
            torch.nn.init.normal_(parameter, std=0.1)
        if name.startswith("conv_last"):
            torch.nn.init.normal_(parameter, std=0.01)
    return model.state_dict()


def moving_texture(num_frames: int, height: int, width: int) -> torch.Tensor:
    """Makes a clip (num_frames, 3, height, width) in [0, 1] of smooth noise that moves by two pixels a frame; always equal."""
    torch.manual_seed(1)
    noise = torch.rand(1, 3, -(-height // 4), (width + 2 * num_frames) // 4 + 1)
    texture = torch.nn.functional.interpolate(noise, scale_factor=4, mode="bicubic").clamp(0, 1)[0]
    return torch.stack([texture[:, :height, 2 * k : 2 * k + width] for k in range(num_frames)])
