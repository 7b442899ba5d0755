"""Exports a network as an ONNX file, which other programs run without vsedvr and without PyTorch.

The deformable convolutions become the operator DeformConv, which ONNX has since opset 19. Everything else is plain.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vsedvr.atomic import whole_file
from vsedvr.model import EDVR, EDVRConfig
from vsedvr.ops import upsample

if TYPE_CHECKING:
    import onnx

__all__ = ["export_onnx"]

OPSET = 19
TOLERANCE = 1e-4
"""Largest difference to PyTorch that is accepted, for pictures in [0, 1]; relative to the result where that is larger."""


def export_onnx(model: EDVR, path: Path, metadata: Mapping[str, str], concat: bool = False, overwrite: bool = False) -> float:
    """Exports a network as an ONNX file in fp32, and compares it with PyTorch in ONNX Runtime before the file appears.

    The file's input "lq" is (1, num_frame, num_in_ch, height, width) in [0, 1], with height and width in multiples of
    config.size_multiple. Its output "restored" is (1, num_out_ch, scale * height, scale * width), not clamped. The file is the
    same to the byte, whatever gradient mode it is written in.

    Args:
        model: the network, in any precision and on any device; it stays as it is.
        path: the file to write. Missing parent folders are made.
        metadata: entries for the file's metadata, beside those that tell about the network (docs/export.md).
        concat: whether the input is (1, num_frame * num_in_ch, height, width) instead: the frames of the window one after
            the other, as vs-mlrt joins clips.
        overwrite: whether a file that exists is replaced.

    Returns:
        The largest difference between ONNX Runtime and PyTorch on random windows, for pictures in [0, 1].

    Raises:
        FileExistsError: if the file exists and overwrite is False.
        ValueError: if the path is a folder or does not end in .onnx, or if ONNX Runtime's result differs from PyTorch's.
        OSError: if the file cannot be written.
        ModuleNotFoundError: if onnx, onnxscript or onnxruntime is not installed.
    """
    for library in ("onnx", "onnxscript", "onnxruntime"):
        import_module(library)  # a missing one is told now, and not after the work
    _check_path(path, overwrite)
    with whole_file(path) as temporary, torch.inference_mode(False):
        temporary.touch()  # so is a folder that cannot be written to
        network = _plain_copy(model, concat)
        proto = _trace(network)
        _describe(proto, network, metadata)
        content = _checked(proto)
        difference = _largest_difference(content, network)
        temporary.write_bytes(content)
        _check_path(path, overwrite)  # again: it may have appeared meanwhile
    return difference


def _check_path(path: Path, overwrite: bool) -> None:
    if path.suffix.lower() != ".onnx":
        raise ValueError(f"the file {path} must have a name that ends in .onnx")
    if path.is_dir():
        raise ValueError(f"{path} is a folder; give the file another name")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists already; overwrite (--overwrite) replaces it")


class _Concatenated(EDVR):
    """An EDVR whose frames come in one picture of num_frame * num_in_ch channels."""

    def forward(self, lq: Tensor) -> Tensor:
        return super().forward(torch.stack(lq.chunk(self.config.num_frame, 1), 1))


def _plain_copy(model: EDVR, concat: bool) -> EDVR:
    """Returns a copy of the network in float32 on the CPU, whose weights are not packed and need no gradients."""
    network = (_Concatenated if concat else EDVR)(model.config, device="meta")
    weights = {key: value.detach().to("cpu", torch.float32, copy=True) for key, value in model.state_dict().items()}
    network.load_state_dict(weights, assign=True)
    return network.eval().requires_grad_(False)


def _random_window(network: EDVR, rows: int, columns: int) -> Tensor:
    """Smooth random pictures in [0, 1], rows * columns times the smallest size, in the shape of the network's input."""
    config = network.config
    frames = config.num_frame, config.num_in_ch
    coarse = config.size_multiple * rows // 4, config.size_multiple * columns // 4
    generator = torch.Generator().manual_seed(0)
    lq = upsample(torch.rand(*frames, *coarse, generator=generator, dtype=torch.float32, device="cpu"), 4)
    return lq.flatten(0, 1)[None] if isinstance(network, _Concatenated) else lq[None]


@torch.enable_grad()  # always the same mode, since layers have other ways to the same result without gradients
def _trace(network: EDVR) -> "onnx.ModelProto":
    """The network in ONNX. It is traced at one size, which is three times as fast as with free sizes.

    No layer depends on the size, so the file is good for all; _largest_difference looks at other sizes.
    """
    program = torch.onnx.export(
        network,
        (_random_window(network, 3, 4),),
        dynamo=True,
        opset_version=OPSET,
        input_names=["lq"],
        output_names=["restored"],
        custom_translation_table=_translations(network.config),
        verbose=False,
    )
    assert program is not None  # it is for the older exporter only
    return program.model_proto


def _translations(config: EDVRConfig) -> dict[Any, Any]:
    """What the operators of vsedvr.ops are in ONNX."""
    from onnxscript import opset19

    op: Any = opset19  # its types know tensors only, and numbers are welcome too

    def dcn(x: Any, conv_offset_output: Any, weight: Any, bias: Any, slope: float) -> Any:
        offsets = 2 * 9 * config.deformable_groups
        offset = op.Slice(conv_offset_output, [0], [offsets], [1])
        mask = op.Sigmoid(op.Slice(conv_offset_output, [offsets], [offsets // 2 * 3], [1]))
        out = op.DeformConv(
            x, weight, offset, bias, mask, kernel_shape=[3, 3], pads=[1, 1, 1, 1], offset_group=config.deformable_groups
        )
        return out if slope == 1 else op.LeakyRelu(out, alpha=slope)

    def conv3x3(x: Any, weight: Any, bias: Any = None) -> Any:
        inputs = (x, weight) if bias is None else (x, weight, bias)
        return op.Conv(*inputs, kernel_shape=[3, 3], pads=[1, 1, 1, 1])

    return {torch.ops.vsedvr.dcn.default: dcn, torch.ops.vsedvr.conv3x3.default: conv3x3}


def _describe(proto: "onnx.ModelProto", network: EDVR, metadata: Mapping[str, str]) -> None:
    """Puts the metadata into the file, and takes out what torch wrote: paths and source lines of this machine."""
    import onnx

    graph, config = proto.graph, network.config
    del graph.value_info[:]
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
    for value, scale in ((graph.input[0], 1), (graph.output[0], config.scale)):
        for dim, side in zip(value.type.tensor_type.shape.dim[-2:], ("height", "width"), strict=True):
            dim.dim_param = side if scale == 1 else f"{scale}*{side}"
    graph.name = "EDVR"
    facts = {
        "network": json.dumps(dataclasses.asdict(config)),
        "input": "concatenated" if isinstance(network, _Concatenated) else "window",
        "num_frame": str(config.num_frame),
        "center": str(config.center),
        "scale": str(config.scale),
        "size_multiple": str(config.size_multiple),
        "weights_sha256": _digest(network),
    }
    onnx.helper.set_model_props(proto, {**facts, **metadata})


def _digest(network: EDVR) -> str:
    """SHA-256 over the names of the weights, in order, each followed by its numbers in fp32, little-endian."""
    digest = hashlib.sha256()
    for key, value in sorted(network.state_dict().items()):
        digest.update(key.encode())
        digest.update(value.contiguous().numpy().astype("<f4").tobytes())
    return digest.hexdigest()


def _checked(proto: "onnx.ModelProto") -> bytes:
    """The content of the file, once onnx finds that it keeps to the standard."""
    import onnx

    content: bytes = proto.SerializeToString(deterministic=True)
    onnx.checker.check_model(content, full_check=True)
    return content


@torch.no_grad()
def _largest_difference(content: bytes, network: EDVR) -> float:
    """Compares ONNX Runtime with PyTorch on two random windows, of other sizes than the one that was traced.

    Raises:
        ValueError: if they differ by more than rounding.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    largest = 0.0
    for rows, columns in ((5, 7), (1, 2)):
        lq = _random_window(network, rows, columns)
        (restored,) = session.run(None, {"lq": lq.numpy()})
        expected = network(lq)
        difference = float((torch.from_numpy(restored) - expected).abs().max())
        if not difference <= TOLERANCE * max(1.0, float(expected.abs().max())):  # NaN included
            raise ValueError(
                f"ONNX Runtime {onnxruntime.__version__} gives another result than PyTorch (difference {difference:.2g}); "
                "no file was written. Try other versions of onnx, onnxscript and onnxruntime"
            )
        largest = max(largest, difference)
    return largest
