"""A netlist of standard cells, module by module: areas, Verilog."""

import re

__all__ = ["Netlist"]


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
