"""Rows of memory that the position of a run selects: scalar registers, tables by position, caches."""

from weft.hw import isa

from .builder import Item, Moving

__all__ = ["POSITION", "Offsets", "copy_rows", "dispatch"]

#: Scalar register that the host sets to the position of a run's first row.
POSITION = 1
#: Scalar register of comparisons.
_COMPARED = 2
_FIRST_OFFSET = 3
_LAST_OFFSET = 15


class Offsets:
    """Scalar registers that hold the position times a number of bytes; versions of a program share them."""

    def __init__(self):
        self._registers = {}

    def moving(self, row_bytes, least, most):
        """`Moving` to the row at the position, which lies in ``least..most``; rows are ``row_bytes`` apart."""
        if row_bytes not in self._registers:
            number = _FIRST_OFFSET + len(self._registers)
            if number > _LAST_OFFSET:
                raise ValueError(f"rows of more than {_LAST_OFFSET - _FIRST_OFFSET + 1} lengths depend on the position")
            self._registers[row_bytes] = number
        return Moving(self._registers[row_bytes], least * row_bytes, most * row_bytes)

    def instructions(self):
        """Items that compute every register: multiplication by doubling and adding."""
        items = []
        for row_bytes, register in self._registers.items():
            power = row_bytes & -row_bytes
            items.append(_calc(register, POSITION))
            for bit in bin(row_bytes // power)[3:]:
                items.append(_calc(register, register, left=1, rb=POSITION if bit == "1" else 0))
            if power > 1:
                items.append(_calc(register, register, left=power.bit_length() - 1))
        return items


def dispatch(versions):
    """One program of several versions, ``[(positions, items)]`` in ascending order: it continues with the first one
    that serves positions ``0 .. positions - 1`` with the run's among them, or with the last one. Items end the program.
    """
    tests = []
    for number, (positions, _) in enumerate(versions[:-1]):
        # The last version follows the tests, the first one comes last.
        skipped = 2 * (len(versions) - 2 - number) + sum(len(items) for _, items in versions[number + 1:])
        tests += [_calc(_COMPARED, POSITION, imm=-positions),
                  Item("BRANCH", dict(cond=isa.Condition.LT, ra=_COMPARED, rb=0, offset=skipped), [])]
    return tests + [item for _, items in reversed(versions) for item in items]


def _calc(rd, ra, rb=0, left=0, imm=0):
    return Item("CALC", dict(rd=rd, ra=ra, rb=rb, left=left, right=0, imm=imm), [])


def copy_rows(emit, table, view, row0, row1, panel0, panel1, moving):
    """Copies rows ``row0..row1`` behind the position between ``table`` (a `Tensor` in memory) and ``view``; ``emit`` is
    the builder's ``load`` or ``store``."""
    memory, run, count, pitch, _ = table.runs(row0, row1, panel0, panel1)
    stride = view.row_stride if table.row_major else view.panel_stride
    emit(memory, view.address(row0, panel0), run, count, pitch, stride, moving=moving)
