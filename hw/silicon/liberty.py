"""What is needed of a Liberty file: area, outputs and buffers."""

import re
from pathlib import Path

from ..errors import InputError

__all__ = ["Library"]

_GROUP = re.compile(r'(\w+)\s*\(\s*"?([^")]*)"?\s*\)\s*\{')
_ATTRIBUTE = re.compile(r'(?<!\w)(area|direction|function)\s*:\s*"?([^";]*)"?\s*;')
#: Buffers for other purposes: of clocks, for delays, between supplies.
_OTHER_BUFFERS = re.compile("clk|dly|delay|lpflow|lsbuf|iso", re.I)


class Library:
    """Cells of a Liberty file.

    ``areas``: by cell, in the library's unit (square micrometres, usually). ``outputs``: by cell, names of its output pins.
    ``buffer``: name, input and output of a buffer that drives a good deal: the smallest one of twice the least area.
    Raises InputError for a file that is none.
    """

    def __init__(self, path):
        path = Path(path)
        if not path.is_file():
            raise InputError(f"library {path} does not exist")
        self.areas, self.outputs, functions = {}, {}, {}
        groups, cell, pin = [], None, None
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            # Groups open at the end of a line, and close alone, in all usual libraries; attributes stand one a line.
            for match in re.finditer(r"\{|\}|" + _GROUP.pattern + "|" + _ATTRIBUTE.pattern, line):
                text = match[0]
                if text == "}":
                    groups and groups.pop()
                elif text == "{":
                    groups.append(None)
                elif text.endswith("{"):
                    groups.append((match[1], match[2]))
                    if match[1] == "cell":
                        cell = match[2]
                        self.outputs[cell], functions[cell] = [], {}
                    elif match[1] == "pin":
                        pin = match[2]
                elif len(groups) == 2 and groups[1] and groups[1][0] == "cell" and match[3] == "area":
                    self.areas[cell] = float(match[4])
                elif len(groups) == 3 and groups[2] and groups[2][0] == "pin":
                    if match[3] == "direction" and match[4] == "output":
                        self.outputs[cell].append(pin)
                    elif match[3] == "function":
                        functions[cell][pin] = match[4].strip("() ")
        buffers = []
        for name, pins in functions.items():
            if len(pins) == 1 and not _OTHER_BUFFERS.search(name):
                (output, source), = pins.items()
                if re.fullmatch(r"[A-Za-z]\w*", source) and name in self.areas and not re.search("ff|latch|dl", name, re.I):
                    buffers.append((self.areas[name], name, source, output))
        if not buffers:
            raise InputError(f"library {path} has no buffer: is it a Liberty file?")
        least = min(buffers)[0]
        _, *self.buffer = min(b for b in buffers if b[0] >= min(2 * least, max(buffers)[0]))
