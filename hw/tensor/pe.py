"""One processing element of the systolic array."""

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["ProcessingElement"]


class ProcessingElement(wiring.Component):
    """``sum_out = sum_in + operand * weight``, weight-stationary, with a shadow of the weight.

    The operand moves right, the sum moves down, both one element a cycle. The product has a register of its own, so
    the sum of the element above belongs to the operand of the cycle before::

        operand_out <= operand;  product <= operand * active;  sum_out <= sum_in + product

    ``shift_down`` takes the shadow weight of the element above, ``shift_right`` that of the element on the left (not
    both at once); ``swap`` makes the shadow the active weight, of the operands from the next cycle on. A shift in the
    cycle of the swap comes too late for it. ``moving`` is high whenever one of the three is: an enable that a row of
    elements shares, for clock gating, and for simulators.

    Parameters
    ----------
    sum_bits : int
        Bits of the sums, signed.

    Members
    -------
    operand : In(signed(9))
    sum_in : In(signed(sum_bits))
    weight_above, weight_left : In(signed(8))
    moving, shift_down, shift_right, swap : In(1)
    operand_out : Out(signed(9))
    sum_out : Out(signed(sum_bits))
    shadow : Out(signed(8))
    """

    def __init__(self, sum_bits):
        self.sum_bits = sum_bits
        super().__init__({
            "operand": In(signed(9)), "sum_in": In(signed(sum_bits)),
            "weight_above": In(signed(8)), "weight_left": In(signed(8)),
            "moving": In(1), "shift_down": In(1), "shift_right": In(1), "swap": In(1),
            "operand_out": Out(signed(9)), "sum_out": Out(signed(sum_bits)), "shadow": Out(signed(8)),
        })

    def elaborate(self, platform):
        m = Module()
        # Registers that leave the element carry the port's name, so that the Verilog has it too.
        operand = Signal(signed(9), name="operand_out", reset_less=True)
        active = Signal(signed(8), reset_less=True)
        shadow = Signal(signed(8), reset_less=True)
        product = Signal(signed(17), reset_less=True)
        total = Signal(signed(self.sum_bits), name="sum_out", reset_less=True)
        with m.If(self.moving):
            with m.If(self.shift_down):
                m.d.sync += shadow.eq(self.weight_above)
            with m.Elif(self.shift_right):
                m.d.sync += shadow.eq(self.weight_left)
            with m.If(self.swap):
                m.d.sync += active.eq(shadow)
        m.d.sync += [
            operand.eq(self.operand),
            product.eq(self.operand * active),
            total.eq(self.sum_in + product),
        ]
        m.d.comb += [self.operand_out.eq(operand), self.sum_out.eq(total), self.shadow.eq(shadow)]
        return m
