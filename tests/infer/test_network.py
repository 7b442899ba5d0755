import copy
import gc
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from conftest import TINY, random_model
from vsedvr.infer import Engine, Tiling
from vsedvr.infer.network import Network
from vsedvr.model import EDVR, EDVRConfig
from vsedvr.model.pcd import SplitConv

X4 = EDVRConfig(3, 3, 8, 5, 2, 1, 1, num_tail_feat=8)
DTYPES = [torch.float32, torch.float16, torch.bfloat16]


def addresses(engine: Engine) -> list[int]:
    halves = [half for conv in engine.model.modules() if isinstance(conv, SplitConv) for half in conv.halves or ()]
    return [weight.data_ptr() for weight in (*engine.model.parameters(), *halves)]


def restored(engine: Engine) -> Tensor:
    clip = torch.rand(5, 3, 16, 20, generator=torch.Generator().manual_seed(1))
    return engine.restore(range(5), clip.__getitem__)


class TestShared:
    @pytest.mark.parametrize("dtype", DTYPES)
    def test_engines_of_one_model_have_one_copy(self, dtype: torch.dtype) -> None:
        model = random_model(X4)
        first = Engine(model, "cpu", dtype)
        second = Engine(model, torch.device("cpu"), dtype, Tiling(48, 40, (16, 16), 4, X4), cache_bytes=0)
        assert addresses(first) == addresses(second)
        assert len(set(addresses(first))) == len(addresses(first))
        assert not set(addresses(first)) & {weight.data_ptr() for weight in model.parameters()}

    def test_another_model_device_or_type_has_another(self) -> None:
        model = random_model(X4)
        engines = [Engine(model), Engine(model, dtype=torch.float16), Engine(copy.deepcopy(model)), Engine(model, "meta")]
        assert len({id(engine.network) for engine in engines}) == 4
        assert [engine.device.type for engine in engines] == ["cpu", "cpu", "cpu", "meta"]

    def test_frames_that_overflow_have_one_copy_too(self) -> None:
        """The copy is made when the first such frame comes."""
        model = random_model(X4)
        torch.nn.init.constant_(model.upconv2.bias, 1e5)  # type: ignore[arg-type]
        torch.nn.init.constant_(model.conv_hr.weight, 1e5)
        engines = [Engine(model, dtype=torch.float16, cache_bytes=n << 20) for n in (1, 2)]
        assert engines[0].exact is None
        expected = restored(Engine(model))
        assert all(torch.equal(restored(engine), expected) for engine in engines)
        assert len({id(engine.exact.network) for engine in engines if engine.exact}) == 1
        assert all(engine.exact for engine in engines)

    def test_from_several_threads(self) -> None:
        model = random_model(X4)
        with ThreadPoolExecutor(8) as pool:
            networks = list(pool.map(lambda _: Network.shared(model, "cpu", torch.float16), range(32)))
        assert len({id(network) for network in networks}) == 1

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_are_given_back_when_nobody_uses_them(self, dtype: torch.dtype) -> None:
        model = random_model(X4)
        engines = [Engine(model, dtype=dtype), Engine(model, dtype=dtype)]
        network, weight = weakref.ref(engines[0].network), weakref.ref(engines[0].model.conv_last)
        engines.pop()
        gc.collect()
        assert network()
        assert weight()
        engines.pop()
        gc.collect()
        assert not network()
        assert not weight()

    def test_outlive_the_model(self) -> None:
        model = random_model(X4)
        engine, expected = Engine(model, dtype=torch.bfloat16), restored(Engine(model, dtype=torch.bfloat16))
        gone = weakref.ref(model)
        del model
        gc.collect()
        assert not gone()
        assert torch.equal(restored(engine), expected)


def step_of_training(model: EDVR) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    model(torch.rand(1, 5, 3, 16, 16)).sum().backward()
    optimizer.step()


def below_half_precision(model: EDVR) -> None:
    with torch.no_grad():
        model.conv_last.weight *= 1 + 1e-6


def another_layer(model: EDVR) -> None:
    model.conv_hr = copy.deepcopy(model.conv_hr)
    torch.nn.init.ones_(model.conv_hr.weight)


CHANGES: dict[str, Callable[[EDVR], object]] = {
    "a step of training": step_of_training,
    "a loaded state": lambda model: model.load_state_dict(random_model(X4).half().state_dict()),
    "through data, which PyTorch does not count": lambda model: model.conv_last.weight.data.mul_(2),
    "through NumPy, which PyTorch does not see": lambda model: model.conv_last.weight.detach().numpy().fill(0.5),
    "another parameter": lambda model: setattr(model.conv_hr, "bias", torch.nn.Parameter(torch.ones(8))),
    "another layer": another_layer,
    "less than half precision can tell": below_half_precision,
    "in inference mode": torch.inference_mode()(lambda model: model.conv_last.bias.add_(1)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
@pytest.mark.parametrize("dtype", DTYPES)
def test_changed_weights_are_noticed(change: Callable[[EDVR], object], dtype: torch.dtype) -> None:
    model = random_model(X4)
    before, expected_before = Engine(model, dtype=dtype), restored(Engine(copy.deepcopy(model), dtype=dtype))
    change(model)
    after = Engine(model, dtype=dtype)
    assert after.network is not before.network
    assert torch.equal(restored(after), restored(Engine(copy.deepcopy(model), dtype=dtype)))
    assert torch.equal(restored(before), expected_before), "an engine keeps the weights that it was made with"
    assert Engine(model, dtype=dtype).network is after.network


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_model_stays_as_it_is(dtype: torch.dtype) -> None:
    model = random_model(X4).train().double()
    model.pcd_align.eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    kept = list(model.parameters())
    engines = [Engine(model, dtype=dtype) for _ in range(2)]
    restored(engines[0])
    assert [module.training for module in model.modules()] == modes
    assert all(now is then for now, then in zip(model.parameters(), kept, strict=True))
    assert all(weight.requires_grad and weight.grad is None for weight in model.parameters())
    assert all(
        weight.dtype == torch.float64 and torch.equal(weight, before[name]) for name, weight in model.state_dict().items()
    )
    assert all(module.halves is None for module in model.modules() if isinstance(module, SplitConv))
    step_of_training(model.float())
    assert all(module.training is False for module in engines[0].model.modules())


@pytest.mark.parametrize("config", [X4, TINY])
def test_moving_the_model_changes_no_weights(config: EDVRConfig) -> None:
    """Types that hold the same numbers, other memory layouts and other modes are no reason for another copy."""
    model = random_model(config)
    network = Network.shared(model, "cpu", torch.float16)
    assert Network.shared(model.double(), "cpu", torch.float16) is network
    assert Network.shared(model.float().train().to(memory_format=torch.channels_last), "cpu", torch.float16) is network


def test_bfloat16_predicts_offsets_in_float32_whatever_the_model_has() -> None:
    network = Network(random_model(X4).half(), "cpu", torch.bfloat16)
    dtypes = {name: weight.dtype for name, weight in network.model.named_parameters()}
    assert all(dtype == (torch.float32 if "conv_offset" in name else torch.bfloat16) for name, dtype in dtypes.items())
    assert network.model.conv_first.weight.is_contiguous(memory_format=torch.channels_last)
