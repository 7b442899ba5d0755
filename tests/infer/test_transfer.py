import pytest
import torch

from vsedvr.infer.stream import Stream
from vsedvr.infer.transfer import staging_memory, start_download, upload

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_pictures_come_back_as_they_went(device: str, dtype: torch.dtype) -> None:
    """The pictures are whole ones, parts, and a single plane expanded to three."""
    whole = torch.rand(3, 20, 30)
    staged = staging_memory((3, 20, 30), torch.float32, torch.device(device)).copy_(whole)
    stream = Stream(torch.device(device))
    for picture in (whole, staged, whole[:, 3:17, 5:9], staged[:, 1:], whole[:1].expand(3, -1, -1), whole.permute(0, 2, 1)):
        with stream.current():
            there = upload(picture, torch.device(device), dtype)
            back = start_download(there)
        assert (there.device.type, there.dtype, there.shape) == (device, dtype, picture.shape)
        stream.mark()()
        assert back.device.type == "cpu"
        assert torch.equal(back, picture.to(dtype))


@pytest.mark.gpu
def test_staging_memory_is_not_reused_while_it_is_read_or_written() -> None:
    """Copies wait for work on the GPU, while the CPU goes on with the next pictures."""
    device = torch.device("cuda", 0)
    stream = Stream(device)
    busy = torch.rand(4096, 4096, device=device)
    pictures = [torch.full((3, 512, 512), float(n)) for n in range(20)]
    with stream.current():
        for _ in range(20):
            busy = busy @ busy / 2048
        there = [upload(picture, device, torch.float16) for picture in pictures]
        back = [start_download(tensor * 2) for tensor in there]
        del there
    stream.mark()()
    assert all((tensor == 2 * n).all() for n, tensor in enumerate(back))
