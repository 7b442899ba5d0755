import hashlib
import shutil
from pathlib import Path

import pytest

from vsedvr.finding import reinstall_line
from vsedvr.weights import EMBEDDED, findings
from vsedvr.weights.zoo import embedded_file


def test_the_hashes_are_in_step() -> None:
    """After a model has changed, run: cd vsedvr/weights/embedded && sha256sum *.safetensors > SHA256SUMS"""
    assert findings.released_hashes() == {
        name: hashlib.sha256(embedded_file(name).read_bytes()).hexdigest() for name in EMBEDDED
    }
    assert not findings.embedded_models().broken


@pytest.mark.parametrize(
    ("harm", "text"),
    [
        ("flip", "denoise is damaged or was changed"),
        ("cut", "denoise is damaged or was changed"),
        ("remove", "denoise cannot be read (No such file or directory)"),
        ("no hashes", "their hashes cannot be read"),
    ],
)
def test_a_model_that_was_harmed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, harm: str, text: str) -> None:
    shutil.copytree(embedded_file("small").parent, tmp_path, dirs_exist_ok=True)
    monkeypatch.setattr(findings, "embedded_file", lambda name: tmp_path / f"{name}.safetensors")
    file = tmp_path / "denoise.safetensors"
    content = bytearray(file.read_bytes())
    if harm == "flip":
        content[-1] ^= 1
        file.write_bytes(content)
    elif harm == "cut":
        file.write_bytes(content[:-1])
    elif harm == "remove":
        file.unlink()
    else:
        (tmp_path / "SHA256SUMS").unlink()
    finding = findings.embedded_models()
    assert text in finding.text
    assert finding.advice == reinstall_line()
    assert finding.broken
