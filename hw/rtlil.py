"""Makes Amaranth's RTLIL fit to be read: equal modules once, names a person would give.

Amaranth emits one module for each instance. Signal names within a module are local, so modules that do the same have
equal bodies once their children have been merged and their ports sorted; they are merged from the leaves up.
"""

import re
from collections import Counter
from dataclasses import dataclass

from .dead_logic import remove_dead_logic

__all__ = ["Instance", "merge_modules"]

_MODULE = re.compile(r"^((?:attribute [^\n]*\n)*)module (\S+)\n(.*?)^end\n", re.M | re.S)
_CELL = re.compile(r"^(  cell )(\\\S+)( \S+\n)((?:    parameter [^\n]*\n)*)((?:    connect [^\n]*\n)*)", re.M)
_CONNECT = re.compile(r"^(    connect )(\\\S+)", re.M)
_PORT = re.compile(r"((?:  attribute [^\n]*\n)*)  wire width (\d+) (input|output) \d+ +(signed )?(\S+)\n\n?", re.M)
_ZERO_INIT = re.compile(r"^  cell \$meminit_v2 \S+\n(?:    [^\n]*\n)*?    connect \\DATA \d+'0+\n(?:    [^\n]*\n)*  end\n\n?",
                        re.M)
# A name, or the start of a line in a cell, whose first name belongs to another module.
_NAME = re.compile(r"^    (?:connect|parameter) \\\S+|\\[^\s\[]+", re.M)
_MEMORY = re.compile(r"^  memory [^\n]* (\\\S+)$", re.M)
_REGISTER = re.compile(r"^  cell \$dff \S+\n(?:    [^\n]*\n)*?    connect \\D (\$\d+)(?: \[[\d:]+\])?\n"
                       r"(?:    [^\n]*\n)*?    connect \\Q (\\\w+)\n", re.M)
_PRIVATE = re.compile(r"(?<!\S)\$\d+(?!\S)")
# Words that SystemVerilog keeps for itself and that make good names: keywords and classes of its standard package.
_RESERVED = set("""accept_on alias before bind bit byte cell chandle checker class cover cross design do edge event export
    extends extern final global inside instance join let library local logic mailbox matches module new null package
    process program property protected pure rand ref reject_on release repeat restrict return semaphore sequence solve
    specify static strong struct super table tagged this time type union unique until use var virtual void wait weak
    with within""".split())
# Ports for parts of signals: a number and a bit in the netlist, which say nothing.
_NAMELESS = re.compile(r"\\port(?:\$(\d+)\$(\d+))?")
# Numbered because the name is taken; ``$signal`` is what Amaranth calls a signal whose name it cannot see.
_SUFFIXED = re.compile(r"\\\$?([A-Za-z_]\w*)\$(\d+)")


@dataclass(frozen=True)
class Instance:
    """Where a module comes from: its class, and its instance names from the top down."""
    class_name: str
    path: tuple


def _snake(name):
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().strip("_")


def _port_order(port):
    name = port[4]
    return (name not in ("\\clk", "\\rst"), name)


def _canonical_ports(body):
    """The body with its ports first, sorted and numbered in that order."""
    ports = sorted(_PORT.findall(body), key=_port_order)
    body = _PORT.sub("", body)
    lines = [f"{attributes}  wire width {width} {direction} {number} {sign}{name}\n"
             for number, (attributes, width, direction, sign, name) in enumerate(ports, 1)]
    return "".join(lines) + body


def _name_next_states(body):
    """The body with the nameless wire in front of register ``name`` called ``name_next``, where that is free."""
    taken = set(re.findall(r"\\\S+", body))
    new, owners = {}, Counter(value for value, _ in _REGISTER.findall(body))
    for value, register in _REGISTER.findall(body):
        name = register + "_next"
        if name not in taken and owners[value] == 1:
            new[value] = name
            taken.add(name)
    return _PRIVATE.sub(lambda match: new.get(match[0], match[0]), body)


def _plain_names(body):
    """The body without names like ``name$7``, and the new names of its ports.

    Ports get the plain name, everything else ``name_7`` where that is free: no escaped identifiers. Ports that Amaranth
    found no name for are numbered.
    """
    ports = [port[4] for port in _PORT.findall(body)]
    names = set(_NAME.findall(body)) - set(_MEMORY.findall(body))
    new = {}
    nameless = sorted((match for name in names if (match := _NAMELESS.fullmatch(name))),
                      key=lambda match: (int(match[1] or 0), int(match[2] or 0)))
    for number, match in enumerate(nameless):
        new[match[0]] = f"\\port_{number}"
    for port in ports:
        if port in new:
            continue
        base = port.split("$")[0]
        if base not in ("\\", port) and base not in ports and base not in new:
            new |= {port: base, base: port}
    taken = set(names)
    for name in names:
        if name[1:] in _RESERVED:
            new[name] = f"{name}_value"
    for name in sorted(names - {match[0] for match in nameless}):
        changed = new.get(name, name)
        if match := _SUFFIXED.fullmatch(changed + "$0" if changed == "\\$signal" else changed):
            plain = f"\\{match[1]}_{match[2]}"
            if plain not in taken:
                new[name] = plain
                taken.add(plain)
    body = _NAME.sub(lambda match: new.get(match[0], match[0]), body)
    return body, {port: new[port] for port in ports if port in new}


def _each_once(modules):
    """The modules, bodies by name, parents first, without those that are equal to another; and which one stands for each."""
    first, into, kept = {}, {}, {}
    for name, body in reversed(modules.items()):
        body = _CELL.sub(lambda match: match[1] + into.get(match[2], match[2]) + match[3] + match[4] + match[5], body)
        into[name] = first.setdefault(body, name)
        if into[name] == name:
            kept[name] = body
    return dict(reversed(kept.items())), into


def merge_modules(text, instances, prefix, foreign_outputs):
    """Merges equal modules and renames them.

    Parameters
    ----------
    text : str
        RTLIL as Amaranth writes it.
    instances : dict
        Module name in ``text`` (without the backslash) to its `Instance`.
    prefix : str
        Name of the top module; the others are ``<prefix>_<class>``, or where modules of one class differ, those with
        fewer instances ``<prefix>_<parent>_<instance>``.
    foreign_outputs : dict
        Output ports of modules that ``text`` instantiates but does not have, names with backslash.

    Returns
    -------
    str
        RTLIL.
    """
    modules = [(match[2], match[3]) for match in _MODULE.finditer(text)]
    renamed = {}        # module -> its ports' new names
    named = {}          # module -> its body with plain names

    # A module's children follow it in the text.
    for name, body in reversed(modules):
        def cell(match):
            ports = renamed.get(match[2], {})
            connections = _CONNECT.sub(lambda m: m[1] + ports.get(m[2], m[2]), match[5])
            connections = "".join(sorted(connections.splitlines(keepends=True)))
            return match[1] + match[2] + match[3] + match[4] + connections

        body, renamed[name] = _plain_names(_CELL.sub(cell, _ZERO_INIT.sub("", body)))
        named[name] = _canonical_ports(body)
    # The last instance stands for all, so parents still come first. What differed in dead logic only is equal without it.
    kept, representative = _each_once(dict(reversed(named.items())))
    kept, into = _each_once(remove_dead_logic(kept, modules[0][0], foreign_outputs))
    kept = [(name, _name_next_states(_canonical_ports(body))) for name, body in kept.items()]

    # Names; Amaranth numbers an instance whose name is a signal's too.
    instances = {name: instances[re.sub(r"\$\d+", "", name[1:])] for name, _ in kept}
    uses = Counter(into.get(name, name) for name in representative.values())
    most_used = {}      # class -> the module that most of its instances are
    for name, _ in kept:
        class_name = instances[name].class_name
        if class_name not in most_used or uses[name] > uses[most_used[class_name]]:
            most_used[class_name] = name
    final, used = {}, set()
    for name, _ in kept:
        instance = instances[name]
        if not instance.path:
            candidates = [prefix]
        else:
            candidates = [f"{prefix}_{'_'.join(instance.path[-depth:])}"
                          for depth in range(min(2, len(instance.path)), len(instance.path) + 1)]
            if most_used[instance.class_name] == name:
                candidates.insert(0, f"{prefix}_{_snake(instance.class_name)}")
            candidates += [f"{prefix}_{'_'.join(instance.path)}_{n}" for n in range(2, len(kept) + 2)]
        final[name] = next(candidate for candidate in candidates if candidate not in used)
        used.add(final[name])

    out = ["autoidx 1\n"]
    for name, body in kept:
        body = _CELL.sub(lambda m: m[1] + ("\\" + final[m[2]] if m[2] in final else m[2]) + m[3] + m[4] + m[5], body)
        out.append(f"attribute \\top 1\nmodule \\{final[name]}\n" if not instances[name].path
                   else f"module \\{final[name]}\n")
        out.append(body)
        out.append("end\n")
    return "".join(out)
