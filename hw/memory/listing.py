"""The memories of the generated Verilog: every instance of the wrapper, with its place and shape."""

import re
from dataclasses import dataclass

from . import wrapper

__all__ = ["Memory", "list_memories"]


@dataclass(frozen=True, order=True)
class Memory:
    """Shape of a memory: ``depth`` words of ``width`` bits, written in lanes of ``lane`` bits, a mask bit each."""
    width: int
    depth: int
    lane: int

    @property
    def lanes(self):
        """Bits of the write mask."""
        return self.width // self.lane

    @property
    def address_bits(self):
        return (self.depth - 1).bit_length()


def list_memories(text, top):
    """``[(path, Memory)]`` of every instance of `wrapper.MODULE` below ``top`` in the Verilog ``text``, in its order.

    Paths are instance names from the top's inside on, joined by dots: ``scratchpad.bank_0.memory``.
    """
    children, memories = {}, {}         # module -> [(instance, module)], [(instance, Memory)]
    for name, body in re.findall(r"^module (\w+)(.*?)^endmodule", text, re.M | re.S):
        children[name], memories[name] = [], []
        for module, parameters, instance in re.findall(r"^  (\w+) (?:#\((.*?)\) )?(\w+) \($", body, re.M | re.S):
            if module == wrapper.MODULE:
                memories[name].append((instance, Memory(*(
                    int(re.search(rf"\.{parameter}\(32'd(\d+)\)", parameters)[1]) for parameter in ("WIDTH", "DEPTH", "LANE")))))
            else:
                children[name].append((instance, module))
    known = {}

    def inside(module):
        # Arrays repeat one module many times: what it holds is looked up once.
        if module not in known:
            known[module] = list(memories.get(module, ()))
            known[module] += [(f"{instance}.{path}", memory) for instance, child in children.get(module, ())
                              for path, memory in inside(child)]
        return known[module]

    return inside(top)
