"""Another filter in the script may change PyTorch's process-wide defaults: not one bit of what vsedvr computes depends on them.

Every state has a process of its own. There a network from before the change and one from after it compute the same as in a
process whose defaults nobody touched.
"""

import json
import subprocess
import sys

import pytest

STATES = {
    "float16": "torch.set_default_dtype(torch.float16)",
    "bfloat16": "torch.set_default_dtype(torch.bfloat16)",
    "float64": "torch.set_default_dtype(torch.float64)",
    "meta": 'torch.set_default_device("meta")',
    "DoubleTensor": "torch.set_default_tensor_type(torch.DoubleTensor)",
}

PROGRAM = """
import hashlib, json, sys, warnings
import torch
from vsedvr import load_model
from vsedvr.infer import Engine, Tiling
from vsedvr.model import EDVR, EDVRConfig
from vsedvr.ops import conv3x3, dcn, deform_conv2d, native

CONFIG = EDVRConfig(num_feat=16, deformable_groups=2, num_extract_block=1, num_reconstruct_block=1, num_tail_feat=16)

def uniform(*shape):
    count = torch.Size(shape).numel()
    values = torch.arange(count, dtype=torch.float64, device="cpu") * 0.6180339887498949 % 1
    return values.float().view(shape)

def digest(*tensors):
    total = hashlib.sha256()
    for tensor in tensors:
        assert tensor.device.type == "cpu", tensor.device
        total.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()

def run_ops():
    x, weight, bias = uniform(2, 16, 9, 11), uniform(16, 16, 3, 3) - 0.5, uniform(16)
    offsets = uniform(2, 54, 9, 11) * 6 - 3
    mask = offsets[:, 36:].sigmoid()
    leaves = [tensor.clone().requires_grad_() for tensor in (x, offsets, weight, bias)]
    out = dcn(*leaves, 0.1)
    yield "conv3x3", digest(conv3x3(x, weight, bias), conv3x3(x, weight))
    yield "dcn", digest(dcn(x, offsets, weight, bias, 0.1), dcn(x.bfloat16(), offsets, weight.bfloat16(), bias.bfloat16(), 1.0))
    yield "gradients", digest(out, *torch.autograd.grad(out.square().sum(), leaves))
    yield "deform_conv2d", digest(deform_conv2d(x, offsets[:, :36], weight, bias, padding=1, mask=mask))
    is_available, native.is_available = native.is_available, lambda: False
    out = dcn(*leaves, 0.1)
    yield "composed", digest(out, *torch.autograd.grad(out.square().sum(), leaves))
    native.is_available = is_available

def run_model(model):
    lq = uniform(1, 5, 3, 24, 32)
    yield "weights", digest(*model.state_dict().values())
    yield "with gradients", digest(model(lq))
    with torch.no_grad():
        yield "without gradients", digest(model(lq))
    for dtype in (torch.float32, torch.bfloat16):
        for tiling in (None, Tiling(24, 32, (16, 12), 4, model.config)):
            out = Engine(model, "cpu", dtype, tiling).restore(range(5), lq[0].__getitem__)
            yield f"engine {dtype} {tiling and tiling.tile}", digest(out)

def build():
    torch.manual_seed(0)
    model = EDVR(CONFIG).eval()
    for pack in (model.pcd_align.cas_dcnpack, *model.pcd_align.dcn_pack.values()):
        torch.nn.init.normal_(pack.conv_offset.weight, std=0.3)
    return model

before = build()
exec(sys.argv[1])
results = dict(run_ops())
for model in (before, build(), load_model("small")):
    results |= {f"{len(results)} {name}": digest for name, digest in run_model(model)}
print(json.dumps(results))
"""


def results(state: str) -> dict[str, str]:
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, state]
    process = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert process.returncode == 0, process.stderr
    digests: dict[str, str] = json.loads(process.stdout)
    return digests


@pytest.fixture(scope="module")
def untouched() -> dict[str, str]:
    return results("pass")


@pytest.mark.parametrize("state", STATES)
def test_not_one_bit_depends_on_pytorchs_defaults(untouched: dict[str, str], state: str) -> None:
    assert len(set(untouched.values())) > 10
    assert results(STATES[state]) == untouched
