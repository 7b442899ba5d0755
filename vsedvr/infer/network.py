"""The weights of a network on a device in a precision, shared by all engines of the process that run them."""

import copy
import threading
from weakref import WeakKeyDictionary, WeakValueDictionary

import torch

from vsedvr.model import EDVR
from vsedvr.model.blocks import DCNPack
from vsedvr.model.pcd import SplitConv

__all__ = ["Network"]

Place = tuple[torch.device, torch.dtype]


class Network:
    """A copy of an EDVR, ready to run: converted, in the memory layout that is fastest, and packed.

    `Network.shared` gives the same copy to everyone who asks with the same model, device and type, for as long as anyone
    holds it. Nobody may change it.
    """

    def __init__(self, model: EDVR, device: torch.device | str, dtype: torch.dtype) -> None:
        """
        Args:
            model: stays as it is.
            device: where the copy runs.
            dtype: of the weights: float32, float16 or bfloat16. In bfloat16 the convolutions that predict offsets are in
                float32: an offset of 8 pixels would have steps of 1/16.
        """
        self.model = copy.deepcopy(model).eval().to(device, dtype)
        """The copy."""
        if dtype == torch.bfloat16:
            for pack, exact in zip(_dcn_packs(self.model), _dcn_packs(model), strict=True):
                pack.conv_offset = copy.deepcopy(exact.conv_offset).to(device, torch.float32)
        self.model = self.model.to(memory_format=torch.channels_last)
        for module in self.model.modules():
            if isinstance(module, SplitConv):
                module.pack()
        self.device = self.model.conv_last.weight.device
        """Where the copy is; a GPU with its number."""
        self.exact_model = None if dtype == torch.float32 else copy.deepcopy(model)
        """The weights as they were given, for frames that need float32; None where the copy is in float32 itself."""

    @classmethod
    def shared(cls, model: EDVR, device: torch.device | str, dtype: torch.dtype) -> "Network":
        """The copy of this model that is in use already, or else a new one.

        Weights of the model that have changed since, in whatever way, make a new copy. They are compared themselves: no
        version counter of PyTorch's sees all changes, such as those through `parameter.data`.
        """
        place = torch.empty(0, dtype=dtype, device=device).device, dtype
        with _lock:
            networks = _networks.setdefault(model, WeakValueDictionary())
            network = networks.get(place)
            if network is None or not network.has_weights_of(model):
                networks[place] = network = cls(model, device, dtype)
            return network

    def has_weights_of(self, model: EDVR) -> bool:
        """Whether the model has the configuration and the weights that this network was made from."""
        made_from = self.exact_model or self.model
        ours, theirs = made_from.state_dict(), model.state_dict()
        return (
            made_from.config == model.config
            and ours.keys() == theirs.keys()
            and all(torch.equal(theirs[name].to(weight), weight) for name, weight in ours.items())
        )


_networks: WeakKeyDictionary[EDVR, WeakValueDictionary[Place, Network]] = WeakKeyDictionary()
_lock = threading.Lock()


def _dcn_packs(model: EDVR) -> list[DCNPack]:
    return [module for module in model.modules() if isinstance(module, DCNPack)]
