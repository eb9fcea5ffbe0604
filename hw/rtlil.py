"""Makes Amaranth's RTLIL fit to be read: equal modules once, names a person would give.

Amaranth emits one module for each instance. Signal names within a module are local, so modules that do the same have
equal bodies once their children have been merged and their ports sorted; they are merged from the leaves up.
"""

import re
from dataclasses import dataclass

__all__ = ["Instance", "merge_modules"]

_MODULE = re.compile(r"^((?:attribute [^\n]*\n)*)module (\S+)\n(.*?)^end\n", re.M | re.S)
_CELL = re.compile(r"^(  cell )(\\\S+)( \S+\n)((?:    parameter [^\n]*\n)*)((?:    connect [^\n]*\n)*)", re.M)
_CONNECT = re.compile(r"^(    connect )(\\\S+)", re.M)
_PORT = re.compile(r"((?:  attribute [^\n]*\n)*)  wire width (\d+) (input|output) \d+  (\S+)\n\n?", re.M)
_ZERO_INIT = re.compile(r"^  cell \$meminit_v2 \S+\n(?:    [^\n]*\n)*?    connect \\DATA \d+'0+\n(?:    [^\n]*\n)*  end\n\n?",
                        re.M)
# A name, or the start of a line in a cell, whose first name belongs to another module.
_NAME = re.compile(r"^    (?:connect|parameter) \\\S+|\\[^\s\[]+", re.M)
_MEMORY = re.compile(r"^  memory [^\n]* (\\\S+)$", re.M)
_SUFFIXED = re.compile(r"\\([A-Za-z_]\w*)\$(\d+)")


@dataclass(frozen=True)
class Instance:
    """Where a module comes from: its class, and its instance names from the top down."""
    class_name: str
    path: tuple


def _snake(name):
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _port_order(port):
    name = port[3]
    return (name not in ("\\clk", "\\rst"), name)


def _canonical_ports(body):
    """The body with its ports first, sorted and numbered in that order."""
    ports = sorted(_PORT.findall(body), key=_port_order)
    body = _PORT.sub("", body)
    lines = [f"{attributes}  wire width {width} {direction} {number} {name}\n"
             for number, (attributes, width, direction, name) in enumerate(ports, 1)]
    return "".join(lines) + body


def _plain_names(body):
    """The body without names like ``name$7``, and the new names of its ports.

    Ports get the plain name, everything else ``name_7`` where that is free: no escaped identifiers.
    """
    ports = [port[3] for port in _PORT.findall(body)]
    names = set(_NAME.findall(body)) - set(_MEMORY.findall(body))
    new = {}
    for port in ports:
        base = port.split("$")[0]
        if base != port and base not in ports and base not in new:
            new |= {port: base, base: port}
    taken = set(names)
    for name in sorted(names):
        changed = new.get(name, name)
        if match := _SUFFIXED.fullmatch(changed):
            plain = f"\\{match[1]}_{match[2]}"
            if plain not in taken:
                new[name] = plain
                taken.add(plain)
    body = _NAME.sub(lambda match: new.get(match[0], match[0]), body)
    return body, {port: new[port] for port in ports if port in new}


def merge_modules(text, instances, prefix):
    """Merges equal modules and renames them.

    Parameters
    ----------
    text : str
        RTLIL as Amaranth writes it.
    instances : dict
        Module name in ``text`` (without the backslash) to its `Instance`.
    prefix : str
        Name of the top module; the others are ``<prefix>_<class>``, or ``<prefix>_<parent>_<instance>`` where
        modules of one class differ.

    Returns
    -------
    str
        RTLIL.
    """
    modules = [(match[2], match[3]) for match in _MODULE.finditer(text)]
    known = {name for name, _ in modules}
    first = {}          # body -> name of the first module that has it
    representative = {}     # module -> the module it is merged into
    kept = []
    renamed = {}        # module -> its ports' new names

    # A module's children follow it in the text.
    for name, body in reversed(modules):
        def cell(match):
            kind = match[2]
            if kind in known:
                kind = representative[kind]
            ports = renamed.get(match[2], {})
            connections = _CONNECT.sub(lambda m: m[1] + ports.get(m[2], m[2]), match[5])
            connections = "".join(sorted(connections.splitlines(keepends=True)))
            return match[1] + kind + match[3] + match[4] + connections

        body, renamed[name] = _plain_names(_CELL.sub(cell, _ZERO_INIT.sub("", body)))
        body = _canonical_ports(body)
        if body in first:
            representative[name] = first[body]
        else:
            representative[name] = first[body] = name
            kept.append((name, body))
    kept.reverse()

    # Names.
    by_class = {}
    for name, _ in kept:
        by_class.setdefault(instances[name[1:]].class_name, []).append(name)
    final, used = {}, set()
    for name, _ in kept:
        instance = instances[name[1:]]
        if not instance.path:
            candidates = [prefix]
        else:
            candidates = [f"{prefix}_{'_'.join(instance.path[-depth:])}"
                          for depth in range(min(2, len(instance.path)), len(instance.path) + 1)]
            if len(by_class[instance.class_name]) == 1:
                candidates.insert(0, f"{prefix}_{_snake(instance.class_name)}")
            candidates += [f"{prefix}_{'_'.join(instance.path)}_{n}" for n in range(2, len(kept) + 2)]
        final[name] = next(candidate for candidate in candidates if candidate not in used)
        used.add(final[name])

    out = ["autoidx 1\n"]
    for name, body in kept:
        body = _CELL.sub(lambda m: m[1] + ("\\" + final[m[2]] if m[2] in final else m[2]) + m[3] + m[4] + m[5], body)
        out.append(f"attribute \\top 1\nmodule \\{final[name]}\n" if not instances[name[1:]].path
                   else f"module \\{final[name]}\n")
        out.append(body)
        out.append("end\n")
    return "".join(out)
