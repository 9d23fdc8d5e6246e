"""A guard against reading tensors on the host, which would stall an accelerator."""

from __future__ import annotations

from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode


class NoHostReads(TorchDispatchMode):
    """Raises where a tensor's value would be read on the host, as .item(), bool(tensor) or nonzero do."""

    READS = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "unique")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket.__name__ in self.READS:
            raise AssertionError(f"{func} reads a tensor on the host")
        return func(*args, **(kwargs or {}))


class Copies(TorchFunctionMode):
    """Notes which methods copy a tensor to the host. Of a tensor that is there no operation of torch's shows it."""

    METHODS = ("tolist", "numpy", "cpu", "item", "__array__")

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if (name := getattr(func, "__name__", "")) in self.METHODS:
            self.calls.append(name)
        return func(*args, **(kwargs or {}))
