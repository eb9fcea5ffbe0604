"""Takes out of RTLIL what nothing depends on.

Amaranth emits a wire for every signal and every field of a structure, used or not, and hands signals through modules that
need them no more. Works on the text, one module at a time, from the top down for outputs and from the leaves up for
inputs, until nothing changes.
"""

import re
from dataclasses import dataclass

__all__ = ["remove_dead_logic"]

_ITEM = re.compile(
    r"(?P<attributes>(?:  attribute [^\n]*\n)*)(?:"
    r"(?P<wire>  wire width (?P<width>\d+) (?:(?P<direction>input|output) \d+ +)?(?:signed )?(?P<name>\S+)\n)"
    r"|(?P<memory>  memory [^\n]*\n)"
    r"|(?P<block>  (?P<kind>cell|process) (?P<type>\S+)[^\n]*\n.*?^  end\n)"
    r"|(?P<connect>connect (?P<target>[^\s]+)(?P<rest>[^\n]*)\n)"
    r"|\n)", re.M | re.S)
_NAME = re.compile(r"(?<!\S)[\\$][^\s]+")
_ASSIGN = re.compile(r"^ *assign (\S+)((?: \[[\d:]+\])?) (.*)$", re.M)
_PIN = re.compile(r"^    connect (\\\S+) ([^\n]*)\n", re.M)
#: Outputs of yosys's own cells; all others of their pins are inputs.
_OUTPUTS = {"\\Y", "\\Q", "\\DATA"}
#: Cells of yosys that act without an output.
_ACTING = {"$memwr_v2", "$meminit_v2", "$print", "$check", "$assert", "$assume", "$cover"}


@dataclass
class _Item:
    text: str
    defines: frozenset
    uses: frozenset
    kept: bool = False              # whether or not anything uses it
    cell: str = None                # module that it instantiates
    wire: str = None
    direction: str = None
    empty: bool = False


def _names(text):
    return frozenset(_NAME.findall(text))


def _parse(body, modules, foreign_outputs):
    items = []
    for match in _ITEM.finditer(body):
        text = match[0]
        if not text.strip():
            continue
        if match["wire"]:
            items.append(_Item(text, frozenset(), frozenset(), wire=match["name"], direction=match["direction"],
                               empty=match["width"] == "0"))
        elif match["memory"]:
            items.append(_Item(text, frozenset(), frozenset(), kept=True))
        elif match["connect"]:
            items.append(_Item(text, _names(match["target"]), _names(match["rest"])))
        elif match["kind"] == "process":
            defines = frozenset(found[0] for found in _ASSIGN.findall(text))
            uses = _names(_ASSIGN.sub(lambda m: m[3], text[text.index("\n"):]))
            items.append(_Item(text, defines, uses))
        else:
            kind, pins = match["type"], _PIN.findall(text)
            if kind in modules or kind in foreign_outputs:
                items.append(_Item(text, frozenset(), frozenset(), kept=True, cell=kind))
            else:
                acting = kind in _ACTING
                outputs = () if kind == "$meminit_v2" or kind == "$memwr_v2" else _OUTPUTS
                items.append(_Item(text, _names(" ".join(value for pin, value in pins if pin in outputs)),
                                   _names(" ".join(value for pin, value in pins if pin not in outputs)), kept=acting))
    return items


def _live_names(items, roots, outputs_of):
    """Names that anything to be kept depends on; ``outputs_of(cell)``: pins of an instance that are outputs."""
    drivers = {}
    for item in items:
        for name in item.defines:
            drivers.setdefault(name, []).append(item)
    empty = {item.wire for item in items if item.empty}
    live, work, done = set(empty), list(roots), set()
    for item in items:
        if item.cell is not None:
            outputs = outputs_of(item.cell)
            for pin, value in _PIN.findall(item.text):
                if pin not in outputs:
                    work += _names(value)
        elif item.kept:
            work += item.uses
    while work:
        name = work.pop()
        if name in live:
            continue
        live.add(name)
        for item in drivers.get(name, ()):
            if id(item) not in done:
                done.add(id(item))
                work += item.uses
    return live - empty


def remove_dead_logic(modules, top, foreign_outputs, rounds=3):
    """Removes dead wires, cells, processes and ports.

    Parameters
    ----------
    modules : dict
        Name to body, parents before the modules they instantiate.
    top : str
        Name of the module whose ports are all kept.
    foreign_outputs : dict
        Output pins of modules that are instantiated but not given.

    Returns
    -------
    dict
        Name to body.
    """
    parsed = {name: _parse(body, modules, foreign_outputs) for name, body in modules.items()}

    def ports(name, direction):
        return {item.wire for item in parsed[name] if item.direction == direction}

    for _ in range(rounds):
        before = sum(map(len, parsed.values()))
        # Outputs, from the top down.
        wanted = {name: set() for name in modules}
        wanted[top] = ports(top, "output")
        outputs = {name: ports(name, "output") for name in modules} | foreign_outputs
        for name in modules:
            items, result = parsed[name], []
            live = _live_names(items, wanted[name], outputs.__getitem__)
            for item in items:
                if item.wire is not None:
                    if item.direction == "output" and name != top and item.wire not in wanted[name]:
                        item.text = re.sub(r"output \d+ +", "", item.text)
                        item.direction = None
                    if item.wire in live or item.direction is not None:
                        result.append(item)
                elif item.cell is not None:
                    def pin(match, cell=item.cell, live=live):
                        if match[1] not in outputs[cell]:
                            return match[0]
                        if not _names(match[2]) & live:
                            return ""
                        if cell in wanted:
                            wanted[cell].add(match[1])
                        return match[0]
                    item.text = _PIN.sub(pin, item.text)
                    result.append(item)
                elif item.kept or item.defines & live:
                    result.append(item)
            parsed[name] = result
        # Inputs, from the leaves up.
        dropped = {}
        for name in reversed(modules):
            items = parsed[name]
            used = set()
            for item in items:
                if item.cell in dropped:
                    item.text = _PIN.sub(lambda m, cell=item.cell: "" if m[1] in dropped[cell] else m[0], item.text)
                if item.cell is not None:
                    used |= _names(" ".join(value for _, value in _PIN.findall(item.text)))
                else:
                    used |= item.uses | item.defines
            dropped[name] = ports(name, "input") - used if name != top else set()
            parsed[name] = [item for item in items if item.wire not in dropped[name]]
        if sum(map(len, parsed.values())) == before:
            break
    return {name: "\n".join(item.text for item in items) for name, items in parsed.items()}
