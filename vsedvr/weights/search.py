"""Finds the EDVR in a checkpoint by the names of its weights, at any depth.

Programs wrap a network in many ways: {"params": ...}, {"state_dict": ...}, "module." or "_orig_mod." in front of every key,
a whole pickled nn.Module, a list of networks. No list of such wrappers would ever be complete. So every tensor gets a full
name, and whatever comes before a name that only EDVR has is the prefix of a network.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from vsedvr.weights.inert import Object
from vsedvr.weights.tensors import is_tensor

__all__ = ["choose_network", "name_tensors"]

MARK = re.compile(r"(?:^|(?<=[./]))(?:conv_l2_1|fea_L2_conv1|feat_l2_conv1|pcd_align|pcd_alignment)\.[^/]*$")
"""Matches weights that only an EDVR has, in each of its key formats, from where the name within the network begins."""
TAIL = re.compile(r"(?:conv_last|conv_hr|HRconv)\.")
"""Matches the names of an EDVR's last layers. IconVSR's feature extractor, an EDVR that cannot restore, lacks them."""
AVERAGED = re.compile(r"(?<![a-z])(?:ema|averaged?|avg|swa)(?![a-z])", re.IGNORECASE)
"""Matches the prefix of weights that are a moving average over the training."""

WRAPPED = re.compile(r"(?:^|(?<=[./]))(?:module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)[./]")
"""Matches what PyTorch adds to names if a part of a network is wrapped or compiled."""

MODULE_PARTS = ("_parameters", "_buffers", "_modules")
MAX_NAME = 1000
"""Most characters in a name. Longer names are not searched, since a hostile file could make them endless."""
MAX_TENSORS = 100_000


def name_tensors(content: Any) -> Iterator[tuple[str, Any]]:
    """Yields the full name and the record of every tensor in the content of a pickle, in the order of the file.

    "/" separates the levels of containers, "." those of modules: "state_dict/generator.conv_first.weight". A value that has
    the name of a weight but is no tensor is yielded too, so that an error can name it.

    Raises:
        ValueError: if there are more than MAX_TENSORS.
    """
    open_levels = [_children("", content)]
    seen, count = set[int](), 0
    while open_levels:
        for name, value in open_levels[-1]:
            if is_tensor(value) or (isinstance(value, Object) and name.endswith((".weight", ".bias"))):
                count += 1
                yield name, value
            elif isinstance(value, dict | list | tuple | Object) and id(value) not in seen and len(name) <= MAX_NAME:
                seen.add(id(value))
                open_levels.append(_children(name, value))
                break
        else:
            open_levels.pop()
        if count > MAX_TENSORS:
            raise ValueError(f"it has more than {MAX_TENSORS} tensors")


def choose_network(names: Iterable[str]) -> dict[str, str] | None:
    """Finds the EDVR among named tensors.

    If there are several, complete networks are preferred, then moving averages (params_ema to params, generator_ema to
    generator), then those at the least depth, then the first one in the file.

    Returns:
        Full names of the network's tensors by their names within the network; None if there is no EDVR.
    """
    full_names: dict[str, str] = {}
    for full in names:
        if len(full) <= 2 * MAX_NAME:
            full_names.setdefault(WRAPPED.sub("", full), full)
    marks = (MARK.search(name) for name in full_names)
    networks: dict[str, dict[str, str]] = {mark.string[: mark.start()]: {} for mark in marks if mark}
    for name, full in full_names.items():
        prefix = next((prefix for prefix in _prefixes(name) if prefix in networks), None)
        inner = name[len(prefix) :] if prefix is not None else ""
        if prefix is not None and "." in inner:  # a name without "." is no weight, for example mmagic's step_counter
            networks[prefix][inner] = full
    return min(networks.items(), key=lambda item: _rank(*item))[1] if networks else None


def _prefixes(name: str) -> Iterator[str]:
    """Yields the possible prefixes of a name, the longest first. Everything up to the last "/" belongs to each of them."""
    inside = name.rfind("/") + 1
    yield from (name[: dot + 1] for dot in range(len(name) - 1, inside - 1, -1) if name[dot] == ".")
    yield name[:inside]


def _rank(prefix: str, network: dict[str, str]) -> tuple[bool, bool, int]:
    # mmengine swaps the averaged and the other weights when it saves: its ema_state_dict is not averaged
    averaged = AVERAGED.search(prefix.replace("ema_state_dict", ""))
    return not any(map(TAIL.match, network)), averaged is None, len(re.findall("[./]", prefix))


def _children(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yields the full name and the value of everything directly inside a container or an object."""
    if isinstance(value, dict):
        yield from _named(name, "/", value)
    elif isinstance(value, list | tuple):
        yield from _named(name, "/", dict(enumerate(value)))
    elif isinstance(value, Object):
        yield from _named(name, "/", value.items)
        state = value.state if isinstance(value.state, dict) else {}
        if any(part in state for part in MODULE_PARTS):
            for part in MODULE_PARTS:
                yield from _named(name, ".", _entries(state.get(part)))
        yield from _named(name, "/", {key: child for key, child in state.items() if key not in MODULE_PARTS})
        yield from _children(name, [value.args, value.state] if not state else value.args)


def _entries(value: Any) -> dict[Any, Any]:
    return value.items if isinstance(value, Object) else value if isinstance(value, dict) else {}


def _named(name: str, separator: str, entries: dict[Any, Any]) -> Iterator[tuple[str, Any]]:
    prefix = name + separator if name else ""
    for n, (key, value) in enumerate(entries.items()):
        if isinstance(value, list | tuple) and len(value) == 2 and isinstance(value[0], str):
            key, value = value  # the entry is a pair of name and value, as in list(model.named_parameters())
        yield prefix + (key if isinstance(key, str) and len(key) <= MAX_NAME else f"[{n}]"), value
