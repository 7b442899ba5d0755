"""Describes files that are not EDVR checkpoints: what they are, and what to give instead."""

import re
from collections.abc import Collection, Iterable

from vsedvr.weights.error import CheckpointError

__all__ = ["HEAD", "check_names", "describe_architecture", "describe_head", "describe_zip"]

HEAD = 512
"""Number of bytes at the beginning of a file from which its kind is told."""

UNPACK = "unpack it and give the checkpoint inside"
EXPORTED = "a network exported for another program; give the PyTorch checkpoint that it was made from"
SIGNATURES = (
    (0, b"\x1f\x8b", f"a gzip archive; {UNPACK}"),
    (0, b"BZh", f"a bzip2 archive; {UNPACK}"),
    (0, b"\xfd7zXZ", f"an xz archive; {UNPACK}"),
    (0, b"(\xb5/\xfd", f"a Zstandard archive; {UNPACK}"),
    (0, b"7z\xbc\xaf", f"a 7z archive; {UNPACK}"),
    (0, b"Rar!", f"a RAR archive; {UNPACK}"),
    (257, b"ustar", f"a tar archive; {UNPACK}"),
    (0, b"\x89HDF", f"a TensorFlow or Keras file (HDF5), {EXPORTED}"),
    (4, b"TFL3", f"a TensorFlow Lite file, {EXPORTED}"),
    (0, b"7767517", f"an ncnn .param file, {EXPORTED}"),
    (0, b"\x47\x6b\x30\x01", f"an ncnn .bin file, {EXPORTED}"),
    (0, b"GGUF", f"a GGUF file, {EXPORTED}"),
    (0, b"version https://git-lfs", "a Git LFS pointer, not a checkpoint; fetch the file itself with 'git lfs pull'"),
)
"""Kinds of file by fixed bytes: (offset in the file, the bytes there, description of the file)."""
PATTERNS = (
    (rb"\s*(\xef\xbb\xbf)?\s*<(\?xml|net\b)", f"an XML file, such as OpenVINO's, {EXPORTED}"),
    (rb"\s*(\xef\xbb\xbf)?\s*<", "a web page, not a checkpoint: the download gave an HTML page; download it again"),
    (rb"\x08[\x01-\x20]\x12", f"an ONNX file, {EXPORTED}"),
    (rb"\x00{64}", "no checkpoint: it begins with zeros, as an unfinished download does; download it again"),
)

CHECKPOINTS = (".pth", ".pt", ".ckpt", ".safetensors", ".bin")
ARCHITECTURES = (
    (r"spynet\.|(forward|backward)_resblocks\.", "BasicVSR or IconVSR"),
    (r"deform_align\.|backbone\.(forward|backward)_\d", "BasicVSR++"),
    (r"(rdb|RDB)\d\.|\bbody\.\d+\.body\.\d+\.", "ESRGAN or another network for single pictures"),
    (r"relative_position_bias_table|residual_group\.", "a transformer such as SwinIR, HAT or VRT"),
    (r"PCD_Align_", "the EDVR of PaddleGAN, which names its weights in a way that is not supported"),
    (r"PCD|dcn|deform", "a relative of EDVR with other parts"),
    (r"flownet\.|contextnet\.|\bblock\d\.conv", "RIFE, which interpolates frames"),
    (r"diffusion_model\.|first_stage_model\.", "Stable Diffusion"),
    (r"^body\.\d+\.(weight|bias)$", "Real-ESRGAN's compact network"),
)
"""Other networks: a regular expression that matches some of their keys, and what the network is."""

HOSTILE_MODULES = {
    *("os", "posix", "nt", "subprocess", "commands", "sys", "shutil", "socket", "runpy", "ctypes", "importlib", "code", "pty"),
    *("webbrowser", "pdb", "timeit", "pip", "urllib", "requests"),
}
HOSTILE_NAMES = {
    f"{module}.{name}"
    for module in ("builtins", "__builtin__")
    for name in ("eval", "exec", "execfile", "compile", "open", "__import__")
}


def check_names(names: Iterable[str]) -> None:
    """Refuses a pickle that names a function no checkpoint needs. It would never be run, but the user should know of it.

    Raises:
        CheckpointError: if there is such a name; the message has it.
    """
    for name in sorted(names):
        if name in HOSTILE_NAMES or name.partition(".")[0] in HOSTILE_MODULES:
            raise CheckpointError(
                f"asks for {name!r}, which no checkpoint needs: loaded by other programs it could run code on your computer. "
                "Nothing in it was run. Get the checkpoint from its publisher"
            )


def describe_head(head: bytes) -> str:
    """Describes a file that is neither a pickle nor a zip archive nor a safetensors file, from its first HEAD bytes."""
    if not head:
        return "is empty; download it again"
    for start, signature, what in SIGNATURES:
        if head[start:].startswith(signature):
            return f"is {what}"
    for pattern, what in PATTERNS:
        if re.match(pattern, head):
            return f"is {what}"
    if head.isascii() and re.sub(rb"\s", b"", head).decode().isprintable():
        return f"is a text file that begins with {head[:40].decode()!r}, not a checkpoint; download it again"
    return f"is neither a PyTorch nor a safetensors file (it begins with {head[:8]!r})"


def describe_zip(names: Collection[str]) -> str:
    """Describes a zip archive that torch.save did not write, from the names of the files in it."""
    inside = [name for name in names if name.endswith(CHECKPOINTS) and not name.startswith("__MACOSX/")]
    if any(name.endswith("/constants.pkl") or "/code/" in name for name in names):
        return (
            "is a TorchScript program, not a checkpoint; give the checkpoint that it was made from, or make one: "
            "torch.save(torch.jit.load(path).state_dict(), 'model.pth')"
        )
    if inside:
        more = f" and {len(inside) - 1} more" if len(inside) > 1 else ""
        return f"is a zip archive that holds {inside[0]!r}{more}; unpack it and give the file inside"
    if any("serialized_exported_program" in name or name.endswith("archive_format") for name in names):
        return f"is a program of torch.export, {EXPORTED}"
    if any(name.endswith(".h5") for name in names):
        return f"is a Keras file, {EXPORTED}"
    first = f"its first file is {min(names)!r}" if names else "it is empty"
    return f"is a zip archive without a checkpoint in it ({first})"


def describe_architecture(keys: Collection[str]) -> str:
    """Describes the network that a checkpoint without an EDVR holds, from its keys."""
    if all(key.startswith("optim") for key in keys):
        return "is the state of an optimiser without its network; give the network's file (of BasicSR: models/net_g_*.pth)"
    for pattern, what in ARCHITECTURES:
        if any(re.search(pattern, key) for key in keys):
            return f"is not an EDVR: it looks like {what} (its first key is {next(iter(keys))!r})"
    return f"is not an EDVR but another architecture (its first key is {next(iter(keys))!r})"
