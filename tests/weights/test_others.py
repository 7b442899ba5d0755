"""Files that are not EDVR checkpoints: the error says what they are, and what to give instead."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from checkpoint_files import SOUND, error_of, prefixed, save


def archive_of(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, b"content")
    return file.getvalue()


def tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("edvr.pth"), io.BytesIO())
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; download it again"),
        (b"<!DOCTYPE html><title>Google Drive - Quota exceeded</title>", "web page"),
        (b"\r\n  <html>", "web page"),
        (b"\xef\xbb\xbf<!doctype html>", "web page"),
        (b'<?xml version="1.0"?><net name="edvr">', "OpenVINO"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "Git LFS pointer"),
        (b"404: Not Found", "a text file that begins with '404: Not Found'"),
        (b'{"error": "quota"}', "a text file that begins with"),
        (bytes(4096), "unfinished download"),
        (b"GIF89a\x01\x00\x01\x00", "neither a PyTorch nor a safetensors file"),
        (b"PK\x03\x04 not a zip", "damaged or truncated"),
        (b"\xff\xff\xff\xff\xff\xff\xff\x7f{", "damaged or truncated"),
        (gzip.compress(b"edvr.pth", mtime=0), "gzip archive; unpack it"),
        (bz2.compress(b"edvr.pth"), "bzip2 archive; unpack it"),
        (lzma.compress(b"edvr.pth"), "xz archive; unpack it"),
        (b"\x28\xb5\x2f\xfd\x04\x00", "Zstandard archive; unpack it"),
        (b"7z\xbc\xaf\x27\x1c\x00\x04", "7z archive; unpack it"),
        (b"Rar!\x1a\x07\x01\x00", "RAR archive; unpack it"),
        (tar(), "tar archive; unpack it"),
        (b"\x89HDF\r\n\x1a\n", "Keras file (HDF5)"),
        (b"\x1c\x00\x00\x00TFL3\x14\x00", "TensorFlow Lite"),
        (b"\x08\x08\x12\x07pytorch\x1a\x052.9.0", "ONNX file"),
        (b"7767517\n75 83\nInput data 0 1 data", "ncnn .param"),
        (b"\x47\x6b\x30\x01\x00\x3c", "ncnn .bin"),
        (b"GGUF\x03\x00\x00\x00", "GGUF"),
        (archive_of("EDVR/edvr_m.pth", "__MACOSX/EDVR/._edvr_m.pth"), "zip archive that holds 'EDVR/edvr_m.pth'; unpack it"),
        (archive_of("a.safetensors", "b.pth", "c.ckpt"), "zip archive that holds 'a.safetensors' and 2 more"),
        (archive_of("config.json", "model.weights.h5"), "Keras"),
        (archive_of("archive/archive_format", "archive/models/model.json"), "torch.export"),
        (archive_of("word/document.xml"), "zip archive without a checkpoint in it (its first file is 'word/document.xml')"),
        (archive_of(), "zip archive without a checkpoint in it (it is empty)"),
    ],
)
def test_by_the_first_bytes(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(content)
    assert message in error_of(path)


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_torchscript(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    torch.jit.trace(nn.Conv2d(3, 3, 3), torch.zeros(1, 3, 8, 8)).save(path)  # type: ignore[no-untyped-call]
    assert "TorchScript" in error_of(path)
    assert "torch.jit.load(path).state_dict()" in error_of(path)


def test_arrays_of_numpy(tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", weight=np.zeros(3))
    assert "zip archive without a checkpoint" in error_of(tmp_path / "m.npz")
    np.save(tmp_path / "m.npy", np.zeros(3))
    assert "neither a PyTorch nor a safetensors file" in error_of(tmp_path / "m.npy")


def test_a_state_of_a_training_by_vsedvr(tmp_path: Path) -> None:
    """The state is written by vsedvr.train. Its weights are those of last.safetensors, which loads without the optimiser."""
    state = {"model": SOUND, "ema": SOUND, "optimizer": {"state": {}}, "scaler": {}, "iteration": 7, "best": 1.0, "record": {}}
    assert "give last.safetensors or best.safetensors" in error_of(save(tmp_path / "last.pt", state))


def test_a_state_of_a_training_by_basicsr(tmp_path: Path) -> None:
    state = {"epoch": 3, "iter": 9, "optimizers": [{"state": {0: {"exp_avg": torch.zeros(3)}}}], "schedulers": [{}]}
    assert "net_g_*.pth" in error_of(save(tmp_path / "9.state", state))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (["spynet.basic_module.0.basic_module.0.conv.weight", "backward_resblocks.main.0.weight"], "BasicVSR"),
        (["edvr.conv_first.weight", "spynet.basic_module.0.weight"], "BasicVSR or IconVSR"),
        (["conv_first.weight", "body.0.rdb1.conv1.weight", "conv_hr.weight"], "ESRGAN"),
        (["conv_first.weight", "RRDB_trunk.0.RDB1.conv1.weight", "HRconv.weight", "conv_last.weight"], "ESRGAN"),
        (["model.0.weight", "model.1.sub.0.RDB1.conv1.0.weight"], "ESRGAN"),
        (["params.conv_first.weight", "params.layers.0.residual_group.blocks.0.norm1.weight"], "SwinIR"),
        (["fea_L2_conv1.weight", "PCDModule.PCD_Align_L3_offset_conv1.weight", "conv_last.weight"], "PaddleGAN"),
        (["encoder.weight"], "another architecture"),
    ],
)
def test_other_architectures(tmp_path: Path, keys: list[str], message: str) -> None:
    text = error_of(save(tmp_path / "m.pth", {key: torch.zeros(4, 3, 3, 3) for key in keys}))
    assert "is not an EDVR" in text
    assert message in text


def test_the_extractor_inside_another_network(tmp_path: Path) -> None:
    tail = ("reconstruction", "upconv", "conv_hr", "conv_last")
    part = {key: value for key, value in prefixed("edvr.").items() if not key.startswith(tuple(f"edvr.{t}" for t in tail))}
    text = error_of(save(tmp_path / "m.pth", part | {"spynet.basic_module.0.weight": torch.zeros(3)}))
    assert "feature extractor without reconstruction" in text
    assert "IconVSR" in text
