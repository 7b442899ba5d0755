"""The network is found in any wrapper, and the right one of several networks is chosen."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from checkpoint_files import SOUND, WRONG, assert_sound, error_of, prefixed, save
from conftest import random_model
from vsedvr.weights.search import choose_network, name_tensors

OPTIMIZER = {"state": {k: {"exp_avg": torch.zeros(3)} for k in range(9)}, "param_groups": [{"lr": 1e-4, "params": [*range(9)]}]}


@pytest.mark.parametrize(
    "content",
    [
        *({name: SOUND} for name in ("params", "params_ema", "state_dict", "model", "net", "net_g", "ema", "model_state_dict")),
        *({name: prefixed("module.")} for name in ("network", "generator", "G", "weights")),
        *(
            prefixed(prefix)
            for prefix in ("module.", "generator.", "_orig_mod.", "model.", "net_g.", "model._orig_mod.module.")
        ),
        {"state_dict": prefixed("net_g."), "epoch": 3, "global_step": torch.tensor(5), "optimizer_states": [OPTIMIZER]},
        {"checkpoint": {"best": [{"net": {"module": SOUND}}]}},
        *(
            {re.sub(r"\b(conv1|l1|pcd_align|conv_last)\.", rf"{part}.\1.", key): value for key, value in SOUND.items()}
            for part in ("_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module.module")
        ),
        [SOUND],
        (1, "EDVR", [{7: SOUND}]),
        list(SOUND.items()),
        {**SOUND, "epoch": torch.tensor(3), "optimizer": OPTIMIZER},
    ],
    ids=lambda content: "-".join(list(content)[:1]) if isinstance(content, dict) else type(content).__name__,
)
def test_any_wrapping(tmp_path: Path, content: Any) -> None:
    assert_sound(save(tmp_path / "m.pth", content))


@pytest.mark.parametrize("prefix", ["generator_ema.", "_orig_mod.module.", "params.", "net/g."])
def test_prefixes_in_safetensors(tmp_path: Path, prefix: str) -> None:
    save_file(prefixed(prefix), tmp_path / "m.safetensors")
    assert_sound(tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    "content",
    [
        {"params": WRONG, "params_ema": SOUND},
        {"model": WRONG, "ema": SOUND},
        {"model": WRONG, "deeper": {"model_ema": {"module": SOUND}}},
        {"state_dict": prefixed("generator.", WRONG) | prefixed("generator_ema.")},
        {"state_dict": WRONG, "averaged_model": SOUND},
        prefixed("net_g.", WRONG) | prefixed("net_g_ema."),
        {"schema": SOUND, "model2": WRONG},  # no average, though the letters are there
        {"state_dict": SOUND, "ema_state_dict": WRONG},  # mmengine swaps them when it saves
        {"state_dict": SOUND, "backup": {"state_dict": WRONG}},
        {"first": SOUND, "second": WRONG},
        {"ema": {key: value for key, value in WRONG.items() if "fea" in key or "pcd" in key}, "model": SOUND},
    ],
)
def test_which_of_several_networks(tmp_path: Path, content: Any) -> None:
    assert_sound(save(tmp_path / "m.pth", content))


def test_where_there_is_a_generator_nothing_else_belongs_to_it(tmp_path: Path) -> None:
    others = {"discriminator.conv_first.weight": torch.zeros(4), "perceptual.vgg.0.weight": torch.zeros(4)}
    assert_sound(save(tmp_path / "m.pth", {"state_dict": others | prefixed("generator.") | {"step_counter": torch.tensor(3)}}))


def test_more_weights_beside_those_of_the_network_are_no_edvr(tmp_path: Path) -> None:
    assert "unexpected spynet.weight" in error_of(
        save(tmp_path / "m.pth", prefixed("g.") | {"g.spynet.weight": torch.zeros(1)})
    )


class Holder(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.register_module("net", net)
        self.history = [torch.zeros(2), {"a": torch.zeros(2)}]
        self.register_buffer("steps", torch.tensor(3))


@pytest.mark.parametrize(
    "wrap", [lambda m: m, Holder, nn.DataParallel, lambda m: {"epoch": 1, "model": nn.DataParallel(Holder(m))}]
)
def test_whole_modules(tmp_path: Path, wrap: Any) -> None:
    assert_sound(save(tmp_path / "m.pth", wrap(random_model())))
    assert_sound(save(tmp_path / "old.pth", wrap(random_model()), _use_new_zipfile_serialization=False))


@pytest.mark.filterwarnings("ignore")
def test_a_compiled_network(tmp_path: Path) -> None:
    compiled: Any = torch.compile(random_model())
    assert_sound(save(tmp_path / "m.pth", {"net": compiled.state_dict()}))
    assert_sound(save(tmp_path / "m.pth", compiled))


def test_what_contains_itself_is_searched_once() -> None:
    endless: dict[str, Any] = {"a": []}
    endless["b"] = endless
    endless["a"].extend([endless, endless["a"]])
    assert list(name_tensors(endless)) == []


def test_nesting_of_any_depth_is_searched_without_recursion() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert list(name_tensors(deep)) == []


def test_many_prefixes_take_no_time() -> None:
    names = [f"{k}.{'a.' * 400}conv_l2_1.weight" for k in range(2000)]
    chosen = choose_network(names)
    assert chosen == {"conv_l2_1.weight": names[0]}
    assert choose_network(["." * 10_000_000 + "conv_l2_1.weight"]) is None
