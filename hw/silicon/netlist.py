"""A netlist of standard cells, module by module: areas, buffers, Verilog."""

import re
from collections import defaultdict

__all__ = ["FANOUT", "Netlist"]

#: Pins that a net drives at most, as mapping puts buffers behind it: inside a module, and from one module to others.
FANOUT, _PORT_FANOUT = 16, 4


class Netlist:
    """The modules of yosys' ``write_json``, mapped to the cells of a `Library`; others than these and the modules (memories)
    are black boxes without area."""

    def __init__(self, modules, library):
        self.modules, self.library = modules, library
        self._areas = {}

    def area(self, name):
        """Area of a module with all that it instantiates."""
        if name not in self._areas:
            self._areas[name] = sum(self.area(cell["type"]) if cell["type"] in self.modules
                                    else self.library.areas.get(cell["type"], 0)
                                    for cell in self.modules[name]["cells"].values())
        return self._areas[name]

    def cells(self, name):
        """``{instance: type}`` of the modules that a module instantiates."""
        return {instance: cell["type"] for instance, cell in self.modules[name]["cells"].items()
                if cell["type"] in self.modules}

    def child(self, name, path):
        """Module at a path of instances (a/b/c) below a module."""
        for instance in filter(None, path.split("/")):
            name = self.cells(name)[instance]
        return name

    def insert_buffers(self):
        """Puts buffers where mapping module by module cannot see that there is too much to drive: behind inputs of modules,
        and nets to several modules, of more than `_PORT_FANOUT` pins, and behind other nets of more than `FANOUT`. The clock's
        nets, behind clock gates too, stay as they are."""
        kind, source, output = self.library.buffer
        clock_pins = {(cell["type"], pin) for module in self.modules.values() for cell in module["cells"].values()
                      for pin, bits in cell["connections"].items() if bits == module["ports"].get("clk", {}).get("bits")}
        for module in self.modules.values():
            inputs = {bit for name, port in module["ports"].items() if port["direction"] == "input" for bit in port["bits"]}
            clock = {bit for name, port in module["ports"].items() if name == "clk" for bit in port["bits"]}
            crossing = {bit for cell in module["cells"].values() if cell["type"] not in self.library.outputs
                        for bits in cell["connections"].values() for bit in bits}
            sinks, highest = defaultdict(list), 1
            for holder in (*module["ports"].values(), *module["netnames"].values()):
                highest = max([highest, *(bit for bit in holder["bits"] if isinstance(bit, int))])
            for cell in module["cells"].values():
                outputs = self._outputs(cell["type"])
                for pin, bits in cell["connections"].items():
                    for index, bit in enumerate(bits):
                        if isinstance(bit, int):
                            highest = max(highest, bit)
                            if pin not in outputs and bit not in clock and (cell["type"], pin) not in clock_pins:
                                sinks[bit].append((bits, index))
            number = 0
            for bit, places in sinks.items():
                few = _PORT_FANOUT if bit in inputs or bit in crossing else FANOUT
                width = _PORT_FANOUT if bit in crossing else FANOUT
                while len(places) > few:
                    nearer = []
                    for start in range(0, len(places), width):
                        highest += 1
                        for bits, index in places[start:start + width]:
                            bits[index] = highest
                        connections = {source: [bit], output: [highest]}
                        module["cells"][f"$fanout${number}"] = {"type": kind, "connections": connections}
                        nearer.append((connections[source], 0))
                        number += 1
                    places = nearer
        self._areas.clear()

    def _outputs(self, kind):
        if kind in self.library.outputs:
            return self.library.outputs[kind]
        if kind in self.modules:
            return [name for name, port in self.modules[kind]["ports"].items() if port["direction"] == "output"]
        return ("read_data",)       # of a memory

    def verilog(self):
        """Structural Verilog in the subset that timing analysis reads; registers carry the names of what they hold."""
        return "\n".join(line for name, module in self.modules.items() for line in self._module(name, module))

    def _module(self, name, module):
        nets, assigns, declared = {}, [], []
        for port, value in module["ports"].items():
            width = len(value["bits"])
            span = f"[{width - 1}:0] " if width > 1 else ""
            declared.append(f"  {value['direction']} {span}{_name(port)};")
            for index, bit in enumerate(value["bits"]):
                shown = f"{_name(port)}[{index}]" if width > 1 else _name(port)
                if value["direction"] == "input" or (isinstance(bit, int) and bit not in nets):
                    nets[bit] = shown
                else:
                    assigns.append((shown, bit))
        known = {}
        for net, value in module.get("netnames", {}).items():
            if not value.get("hide_name"):
                for index, bit in enumerate(value["bits"]):
                    known.setdefault(bit, f"{net}_{index}" if len(value["bits"]) > 1 else net)
        internal = set()

        def shown(bit):
            if not isinstance(bit, int):
                return f"1'b{bit if bit in ('0', '1') else '0'}"
            if bit not in nets:
                nets[bit] = f"n{bit}"
                internal.add(nets[bit])
            return nets[bit]

        cells = []
        for number, (instance, cell) in enumerate(module["cells"].items()):
            if cell["type"] in self.library.outputs:
                held = next((known[bit] for pin in self.library.outputs[cell["type"]]
                             for bit in cell["connections"].get(pin, ()) if bit in known), "g")
                instance = re.sub(r"\W", "_", f"{held}_{number}")
            kind = cell["type"]
            if kind not in self.library.outputs and kind not in self.modules:
                kind = f"{kind}_{name}_{number}"        # a black box for each memory, which differ in size
            pins = ", ".join(f".{_name(pin)}({{{', '.join(shown(bit) for bit in reversed(bits))}}})" if len(bits) > 1 else
                             f".{_name(pin)}({shown(bits[0])})" for pin, bits in cell["connections"].items() if bits)
            cells.append(f"  {_name(kind)} {_name(instance)} ({pins});")
        lines = [f"  assign {port} = {shown(bit)};" for port, bit in assigns]
        yield f"module {_name(name)} ({', '.join(_name(port) for port in module['ports'])});"
        yield from declared
        yield from (f"  wire {net};" for net in sorted(internal))
        yield from lines
        yield from cells
        yield "endmodule"


def _name(text):
    return text if re.fullmatch(r"[A-Za-z_]\w*", text) else "\\" + text + " "
