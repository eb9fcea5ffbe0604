"""First products: an element times its second operand."""

from amaranth.hdl import Module, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Products"]


class Products(wiring.Component):
    """``products[i] = elements[j] * seconds[j]`` with ``j = part * norm_lanes + i``, combinational.

    A group of ``vector_lanes`` takes ``vector_lanes / norm_lanes`` cycles, as many parts: statistics, norms and products of two
    operands are few beside requantization, and each of these multipliers is a fifth of a lane.

    Parameters
    ----------
    config : Config

    Members
    -------
    part : In(range(vector_lanes / norm_lanes))
    elements, seconds : In(ArrayLayout(signed(16), vector_lanes))
        Stage 0 of the lanes: registers, so that each product has a cycle of its own.
    products : Out(ArrayLayout(signed(32), norm_lanes))
    """

    def __init__(self, config):
        self.lanes = config.norm_lanes
        group = data.ArrayLayout(signed(16), config.vector_lanes)
        super().__init__({
            "part": In(range(config.product_parts)), "elements": In(group), "seconds": In(group),
            "products": Out(data.ArrayLayout(signed(32), config.norm_lanes)),
        })

    def elaborate(self, platform):
        m = Module()
        elements = self.elements.as_value().word_select(self.part, 16 * self.lanes)
        seconds = self.seconds.as_value().word_select(self.part, 16 * self.lanes)
        for lane in range(self.lanes):
            element, second = (operand[16 * lane:16 * lane + 16].as_signed() for operand in (elements, seconds))
            m.d.comb += self.products[lane].eq(element * second)
        return m
