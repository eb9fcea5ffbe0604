"""The pace of rows of sparse tiles: what the ports' arbitration must give, and what was measured on the RTL."""

import pytest

from weft.performance.panels import pass_cycles


def panels(count, base, stride, bank=10**6):
    words = [base + n * stride for n in range(count)]
    return tuple((word % 2, word // 2 % 2, word // bank) for word in words)


@pytest.mark.parametrize("rows", [1, 2, 5, 8, 17, 40, 63, 64, 197])
def test_a_port_brings_a_line_a_cycle(rows):
    for base, stride in ((0, 64), (0, 65), (1, 64), (3, 65)):
        lines = sum((rows + odd + 1) // 2 for odd, _, _ in panels(2, base, stride))
        assert pass_cycles(rows, panels(2, base, stride)) == lines
        # Panels of the second port in another bank are in nobody's way.
        apart = panels(2, base, stride) + tuple((odd, line, 1) for odd, line, _ in panels(2, base, stride))
        assert pass_cycles(rows, apart) == lines
    assert pass_cycles(rows, panels(4, 2, 66)) == rows + rows % 2       # an odd number of lines apart


@pytest.mark.parametrize("rows, cycles", [(9, 13.0), (13, 18.5), (17, 22.9), (21, 26.5), (25, 31.75), (24, 24), (19, 20), (8, 8)])
def test_four_panels_as_far_apart_as_they_are_long(rows, cycles):
    """Cycles of the RTL (18 K tiles on 4x4 less 10, by 8): where both ports meet, the model is too fast."""
    assert 0.86 < pass_cycles(rows, panels(4, 0, rows)) / cycles < 1.01
