"""Scalar registers of random programs, and the control flow that uses them."""

from weft.hw.isa import REGISTERS

__all__ = ["Scalars"]

#: Registers whose values are known while a program is drawn; those from `_SCRATCH` on belong to loops.
_KNOWN = 6
_SCRATCH = 10


class Scalars:
    """Values of the scalar registers, by number, at the point that a program has come to.

    ``initial``: ``{number: value}`` before the start; multiples of the DMA granule, so that they can be parts of
    addresses.
    """

    def __init__(self, config, rng):
        self._unit, self._rng = config.dma_bytes, rng
        self.initial = {number: self._granules() for number in range(1, _KNOWN)}
        self._values = dict(self.initial)

    def _granules(self):
        return int(self._rng.integers(-64, 64)) * self._unit

    def some(self):
        """Number and value of a register."""
        number = int(self._rng.integers(1, _KNOWN))
        return number, self._values[number]

    def scratch(self):
        """Number of a register for a loop."""
        return int(self._rng.integers(_SCRATCH, REGISTERS))

    def control(self):
        """A stretch of control instructions: CALC, or branches over something, not taken, or around a loop."""
        style = self._rng.random()
        if style < 0.5:
            return self._calculation()
        if style < 0.8:
            return self._branch()
        r = self.scratch()
        return [("CALC", dict(rd=r, imm=int(self._rng.integers(1, 6)))), ("CALC", dict(rd=r, ra=r, imm=-1)),
                ("BRANCH", dict(cond=1, ra=r, rb=0, offset=-2))]

    def _operands(self, count):
        return (int(self._rng.integers(0, _KNOWN)) for _ in range(count))

    def _calculation(self):
        rng = self._rng
        rd, ra, rb = self._operands(3)
        left, right, imm = int(rng.integers(8)), int(rng.integers(8)), int(rng.integers(-(1 << 20), 1 << 20))
        value = (((self._value(ra) << left) + self._value(rb) + imm + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)
        control = [("CALC", dict(rd=rd, ra=ra, rb=rb, left=left, right=right, imm=imm))]
        if rd:
            self._values[rd] = value >> right
            # Most often a value follows that addresses can use.
            if rng.random() < 0.7:
                self._values[rd] = self._granules()
                control.append(("CALC", dict(rd=rd, imm=self._values[rd])))
        return control

    def _branch(self):
        rng = self._rng
        ra, rb = self._operands(2)
        cond = int(rng.integers(4))
        a, b = self._value(ra), self._value(rb)
        if not (a == b, a != b, a < b, a >= b)[cond]:
            return [("BRANCH", dict(cond=cond, ra=ra, rb=rb, offset=int(rng.integers(-2, 3))))]
        skipped = [("END", {}), ("LOAD", dict(outer_count=3, run_words=77)), ("MATMUL", dict(rows=5))]
        skipped = skipped[:int(rng.integers(1, 4))]
        return [("BRANCH", dict(cond=cond, ra=ra, rb=rb, offset=len(skipped))), *skipped]

    def _value(self, number):
        return self._values.get(number, 0)
