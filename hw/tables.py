"""The tables of ``hw/README.md`` that come from definitions in the code, or from results that ``scripts/silicon`` measured.

``python -m weft.hw.tables`` writes them anew; a test fails when they are out of date.
"""

import re
from pathlib import Path

from . import isa
from .control import register_map
from .silicon import report

__all__ = ["README", "instructions_table", "with_tables"]

#: The page that holds the tables, each between ``<!-- name -->`` and ``<!-- end -->``.
README = Path(__file__).with_name("README.md")


def instructions_table():
    """Every instruction with its fields."""
    lines = []
    for i in isa.INSTRUCTIONS.values():
        lines += [f"#### `{i.mnemonic}` 0x{i.opcode:02x}", "", i.doc[0].upper() + i.doc[1:] + ".", ""]
        if i.field_list:
            lines += ["| bits | field | meaning |", "|---|---|---|"]
            for f in i.field_list:
                low = i.offsets[f.name]
                doc = f.doc + " (signed)" * f.signed + " (at least 1)" * f.count + f" (with `{f.option}`)" * bool(f.option)
                lines.append(f"| {low + f.width - 1}:{low} | `{f.name}` | {doc} |")
            lines.append("")
    return "\n".join(lines)


def with_tables(text):
    """The page's text with every table as the code defines it, or as measured."""
    measured = report.load()
    for name, table in (("registers", register_map.markdown_table()), ("instructions", instructions_table()),
                        ("cells", report.cells_table(measured["cells"])), ("ecp5", report.ecp5_table(measured["ecp5"])),
                        ("lanes", report.lanes_table(measured["lanes"])), ("sizes", report.sizes_table(measured["sizes"]))):
        text, count = re.subn(rf"(<!-- {name} -->\n).*?(<!-- end -->)", lambda m: m[1] + table.strip() + "\n" + m[2], text,
                              flags=re.S)
        if count != 1:
            raise ValueError(f"the page must have one place for the table of {name}, not {count}")
    return text


if __name__ == "__main__":
    README.write_text(with_tables(README.read_text(encoding="utf-8")), encoding="utf-8")
