import logging

import pytest
import torch

from vsedvr.infer import choose_device, choose_precision

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


@pytest.mark.parametrize(
    ("asked", "device", "exact_input", "expected"),
    [
        (None, CPU, True, torch.float32),
        (None, CPU, False, torch.float32),
        (None, GPU, True, torch.float32),
        (None, GPU, False, torch.float16),
        ("fp32", GPU, False, torch.float32),
        ("fp16", GPU, True, torch.float16),
        ("bf16", GPU, True, torch.bfloat16),
        ("fp32", CPU, False, torch.float32),
    ],
)
def test_precision(asked: str | None, device: torch.device, exact_input: bool, expected: torch.dtype) -> None:
    assert choose_precision(asked, device, exact_input) == expected


@pytest.mark.parametrize(("amx", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_bf16_on_a_cpu_needs_amx(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, amx: bool, expected: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert choose_precision("bf16", CPU, exact_input=False) == expected
    assert len(caplog.records) == (0 if amx else 1)


def test_fp16_on_a_cpu_is_fp32_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert choose_precision("fp16", CPU, exact_input=False) == torch.float32
    assert [record.getMessage() for record in caplog.records] == [
        "precision fp16 is slower than fp32 on a CPU; computing in fp32"
    ]


def test_unknown_precision() -> None:
    with pytest.raises(ValueError, match="precision must be one of fp32, fp16, bf16, got 'half'"):
        choose_precision("half", CPU, exact_input=False)


@pytest.mark.parametrize(
    ("count", "index", "expected"),
    [(0, None, CPU), (0, -1, CPU), (2, None, GPU), (2, -1, CPU), (2, 1, torch.device("cuda", 1))],
)
def test_device(monkeypatch: pytest.MonkeyPatch, count: int, index: int | None, expected: torch.device) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    assert choose_device(index) == expected


@pytest.mark.parametrize(
    ("count", "index", "message"),
    [
        (0, 0, "device_index 0 asks for a GPU, but CUDA is not available"),
        (2, 2, r"device_index must be within 0\.\.1, or -1 for the CPU, got 2"),
        (2, -2, "got -2"),
    ],
)
def test_no_such_device(monkeypatch: pytest.MonkeyPatch, count: int, index: int, message: str) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    with pytest.raises(ValueError, match=message):
        choose_device(index)
