import pytest
import torch

from vsedvr.infer.transfer import start_download, upload, wait_for

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_pictures_come_back_as_they_went(device: str, dtype: torch.dtype) -> None:
    """The pictures are whole ones, parts, and a single plane expanded to three."""
    whole = torch.rand(3, 20, 30)
    for picture in (whole, whole[:, 3:17, 5:9], whole[:1].expand(3, -1, -1), whole.permute(0, 2, 1)):
        there = upload(picture, torch.device(device), dtype)
        assert (there.device.type, there.dtype, there.shape) == (device, dtype, picture.shape)
        back = start_download(there)
        wait_for(there.device)
        assert back.device.type == "cpu"
        assert torch.equal(back, picture.to(dtype))


@pytest.mark.gpu
def test_staging_memory_is_not_reused_while_it_is_read_or_written() -> None:
    """Copies wait for work on the GPU, while the CPU goes on with the next pictures."""
    device = torch.device("cuda", 0)
    busy = torch.rand(4096, 4096, device=device)
    pictures = [torch.full((3, 512, 512), float(n)) for n in range(20)]
    for _ in range(20):
        busy = busy @ busy / 2048
    there = [upload(picture, device, torch.float16) for picture in pictures]
    back = [start_download(tensor * 2) for tensor in there]
    del there
    wait_for(device)
    assert all((tensor == 2 * n).all() for n, tensor in enumerate(back))
