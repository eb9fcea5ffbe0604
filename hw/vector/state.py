"""State of rows between instructions."""

from amaranth.hdl import Module, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out, Signature

from ..interfaces import RescaleRead
from ..memory.wrapper import OnChipMemory

__all__ = ["StateRead", "StateWrite", "NormState", "DivisionState", "MAXIMUM", "SUM", "RowState"]

#: Running maximum m of a softmax row in whole log2 units; -2048: no visible key yet.
MAXIMUM = signed(12)
#: Running sum l of a softmax row.
SUM = 32
#: What STATS leaves for NORM: sum, mantissa of the reciprocal root, shift less one.
NormState = data.StructLayout({"row_sum": signed(30), "root": 16, "shift": 6})
#: What the last block of a softmax leaves for REQUANT: multiplier MR and shift S less one.
DivisionState = data.StructLayout({"mult": signed(18), "shift": 6})


class StateRead(Signature):
    """Reads a row; ``value`` follows one cycle after ``enable`` and stays until the next read."""

    def __init__(self, rows, shape):
        super().__init__({"enable": Out(1), "row": Out(range(rows)), "value": In(shape)})


class StateWrite(Signature):
    """Writes a row in a cycle with ``enable``."""

    def __init__(self, rows, shape):
        super().__init__({"enable": Out(1), "row": Out(range(rows)), "value": Out(shape)})


class RowState(wiring.Component):
    """One memory of ``state_rows`` rows for each kind of state.

    Parameters: ``config``. Ports: for each of ``maximum``, ``sum``, ``division`` and ``norm`` a ``_read`` and a ``_write``;
    ``rescale_write`` and, for the tensor engine, ``rescale`` (flipped RescaleRead, always answered in the next cycle).
    """

    def __init__(self, config):
        self.rows = rows = config.state_rows
        self._shapes = {"maximum": MAXIMUM, "sum": SUM, "division": DivisionState, "norm": NormState}
        ports = {}
        for name, shape in self._shapes.items():
            ports[name + "_read"] = In(StateRead(rows, shape))
            ports[name + "_write"] = In(StateWrite(rows, shape))
        super().__init__(ports | {"rescale_write": In(StateWrite(rows, 6)), "rescale": In(RescaleRead(config))})

    def elaborate(self, platform):
        m = Module()

        def memory(name, write, width):
            m.submodules[name] = storage = OnChipMemory(width, self.rows)
            m.d.comb += [
                storage.write_enable.eq(write.enable), storage.write_address.eq(write.row),
                storage.write_data.eq(write.value), storage.write_mask.eq(1),
            ]
            return storage

        for name in self._shapes:
            read, write = getattr(self, name + "_read"), getattr(self, name + "_write")
            storage = memory(name, write, len(_bits(write.value)))
            m.d.comb += [
                storage.read_enable.eq(read.enable), storage.read_address.eq(read.row),
                _bits(read.value).eq(storage.read_data),
            ]
        rescale = memory("rescale_distance", self.rescale_write, 6)
        m.d.comb += [
            rescale.read_enable.eq(1), rescale.read_address.eq(self.rescale.row),
            self.rescale.distance.eq(rescale.read_data),
        ]
        return m


def _bits(value):
    return value.as_value() if isinstance(value, data.View) else value
