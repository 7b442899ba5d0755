"""A copy of a network on one device in one precision, shared by all engines of the process that use it."""

import copy
import threading
from weakref import WeakKeyDictionary, WeakValueDictionary

import torch

from vsedvr.model import EDVR
from vsedvr.model.blocks import DCNPack

__all__ = ["Network"]

Place = tuple[torch.device, torch.dtype]


class Network:
    """A copy of an EDVR that is ready to run: converted to its data type and the fastest memory layout, and packed.

    `Network.shared` returns the same copy for the same model, device and data type, as long as anyone holds it. The copy
    must not be changed.
    """

    def __init__(self, model: EDVR, device: torch.device | str, dtype: torch.dtype) -> None:
        """
        Args:
            model: the network to copy; it is not changed.
            device: where the copy runs.
            dtype: data type of the weights: float32, float16 or bfloat16. In bfloat16 the convolutions that predict
                offsets stay in float32: an offset of 8 pixels could otherwise change only in steps of 1/16 pixel.
        """
        self.model = copy.deepcopy(model).eval().to(device, dtype)
        """The copy of the model that runs."""
        if dtype == torch.bfloat16:
            for pack, exact in zip(_dcn_packs(self.model), _dcn_packs(model), strict=True):
                pack.conv_offset = copy.deepcopy(exact.conv_offset).to(device, torch.float32)
        self.model = self.model.to(memory_format=torch.channels_last)
        self.model.pack()
        self.device = self.model.conv_last.weight.device
        """Device that the copy is on; a GPU always has its number here."""
        self.exact_model = None if dtype == torch.float32 else copy.deepcopy(model)
        """The model with its original weights, for frames that overflow dtype; None if dtype is float32."""

    @classmethod
    def shared(cls, model: EDVR, device: torch.device | str, dtype: torch.dtype) -> "Network":
        """Returns the copy of a model that is in use already, or makes a new one.

        If the model's weights have changed since, a new copy is made. The weights themselves are compared, because PyTorch's
        version counters do not see all changes, such as those through `parameter.data`.
        """
        place = torch.empty(0, dtype=dtype, device=device).device, dtype
        with _lock:
            networks = _networks.setdefault(model, WeakValueDictionary())
            network = networks.get(place)
            if network is None or not network.has_weights_of(model):
                networks[place] = network = cls(model, device, dtype)
            return network

    def has_weights_of(self, model: EDVR) -> bool:
        """Whether a model still has the configuration and the weights that this network was made from."""
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
