"""First products: an element times a second operand, a number of features, or itself."""

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Factor", "Products"]


class Factor(enum.Enum, shape=2):
    """What the source element is multiplied by before anything else."""
    SECOND = 0      #: the second operand
    FEATURES = 1    #: the number of features of a norm
    ITSELF = 2      #: squares, for the norm's statistics


class Products(wiring.Component):
    """``products[i] = elements[part * norm_lanes + i] * factor``, combinational.

    A group of ``vector_lanes`` takes ``vector_lanes / norm_lanes`` cycles, as many parts: statistics, norms and products of two
    operands are few beside requantization, and each of these multipliers is a fifth of a lane.

    Parameters
    ----------
    config : Config

    Members
    -------
    factor : In(Factor); features : In(15)
        Constant during an instruction.
    part : In(range(vector_lanes / norm_lanes))
    elements, seconds : In(ArrayLayout(signed(16), vector_lanes))
        Stage 0 of the lanes.
    products : Out(ArrayLayout(signed(32), norm_lanes))
    """

    def __init__(self, config):
        self.lanes = config.norm_lanes
        group = data.ArrayLayout(signed(16), config.vector_lanes)
        super().__init__({
            "factor": In(Factor), "features": In(15), "part": In(range(config.product_parts)),
            "elements": In(group), "seconds": In(group),
            "products": Out(data.ArrayLayout(signed(32), config.norm_lanes)),
        })

    def elaborate(self, platform):
        m = Module()
        elements = self.elements.as_value().word_select(self.part, 16 * self.lanes)
        seconds = self.seconds.as_value().word_select(self.part, 16 * self.lanes)
        for lane in range(self.lanes):
            element = Signal(signed(16), name=f"element_{lane}")
            factor = Signal(signed(16), name=f"factor_{lane}")
            m.d.comb += element.eq(elements[16 * lane:16 * lane + 16])
            with m.Switch(self.factor):
                with m.Case(Factor.SECOND):
                    m.d.comb += factor.eq(seconds[16 * lane:16 * lane + 16])
                with m.Case(Factor.FEATURES):
                    m.d.comb += factor.eq(self.features)
                with m.Case(Factor.ITSELF):
                    m.d.comb += factor.eq(element)
            m.d.comb += self.products[lane].eq(element * factor)
        return m
