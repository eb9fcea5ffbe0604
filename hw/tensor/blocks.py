"""Moving rows as the pairs of the sparse array take them: blocks of activations."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .. import isa
from .sparse_pe import activation_layout, lanes_of

__all__ = ["ActivationBlocks", "operands_layout"]


def operands_layout(config):
    """What goes into the array with each row: an activation to each row, or with `sparsity` a block of them to a pair of rows."""
    if not config.sparsity:
        return data.ArrayLayout(signed(9), config.rows)
    return data.ArrayLayout(data.ArrayLayout(activation_layout(), config.activation_lanes), config.rows // 2)


class ActivationBlocks(wiring.Component):
    """Spreads the features of a K tile over the lanes of each pair of rows, one row of the moving operand a cycle.

    Row r of the array has feature r of a dense tile in the lane of place 0. Of a 2:4 tile both rows of pair q have features 4q
    to 4q + 3, of a 1:4 tile row r has features 4r to 4r + 3. Zeros, and lanes that a tile does not use, are not live and keep
    their value.

    Parameters
    ----------
    config : Config
        With `sparsity`.

    Members
    -------
    valid : In(1)
        A row in this cycle.
    words : In(ArrayLayout(8 * word_bytes, sparse_panels))
        The row in each panel of the tile.
    format : In(isa.WEIGHT_FORMAT_BITS)
        `isa.WeightFormat` of the tile.
    panels : In
        Panels that it has; what is in the other words counts as zero.
    is_unsigned : In(1)
        Bytes are uint8.
    operands : Out(operands_layout(config))
        In the cycle after ``valid``.
    """

    def __init__(self, config):
        self.config = config
        super().__init__({
            "valid": In(1), "words": In(data.ArrayLayout(8 * config.word_bytes, config.sparse_panels)),
            "format": In(isa.WEIGHT_FORMAT_BITS), "panels": In(range(config.sparse_panels + 1)), "is_unsigned": In(1),
            "operands": Out(operands_layout(config)),
        })

    def _feature(self, number):
        """``(byte, present)`` of a feature of the tile."""
        panel, within = divmod(number, self.config.panel)
        return self.words[panel].word_select(within, 8), self.panels > panel

    def elaborate(self, platform):
        m = Module()
        config = self.config
        lanes = config.activation_lanes
        operands = Signal(self.operands.shape(), reset_less=True)
        for pair in range(config.rows // 2):
            for lane in range(lanes):
                sources = {isa.WeightFormat.SPARSE_2_4: self._feature(4 * pair + lane % 4)}
                if lanes == 8:
                    sources[isa.WeightFormat.SPARSE_1_4] = self._feature(8 * pair + lane)
                byte, present = Signal(8, name=f"byte_{pair}_{lane}"), Signal(name=f"present_{pair}_{lane}")
                with m.Switch(self.format):
                    for number, (source, there) in sources.items():
                        with m.Case(number):
                            m.d.comb += [byte.eq(source), present.eq(there)]
                    for n in range(2):
                        if lanes_of(n, lanes)[0] == lane:
                            with m.Default():
                                m.d.comb += [byte.eq(self._feature(2 * pair + n)[0]), present.eq(1)]
                live = Signal(name=f"live_{pair}_{lane}")
                m.d.comb += live.eq(present & byte.any())
                with m.If(self.valid):
                    m.d.sync += operands[pair][lane].live.eq(live)
                    with m.If(live):
                        m.d.sync += operands[pair][lane].value.eq(Mux(self.is_unsigned, byte, byte.as_signed()))
        m.d.comb += self.operands.eq(operands)
        return m
