"""Programs that run at a position, in versions for few and for many positions, all of them in one memory."""

from .assemble import assemble
from .lowering import Lowered, fit
from .memory import MemoryMap
from .positions import Offsets, dispatch
from .probes import Probes

__all__ = ["lower_stepped"]


def lower_stepped(programs, config):
    """Lowers programs that share constants and caches.

    ``programs``: by name a list of versions ``(positions, graph)`` in ascending order, each a prepared
    `weft.qgraph.QGraph` for positions ``0 .. positions - 1`` not served by an earlier one (the last one serves the
    rest). Operations that occur in several graphs are the same objects. Returns `Lowered` by name.

    Raises CompileError for what no tiling makes fit, naming the layer.
    """
    memory, packed, offsets = MemoryMap(config), {}, Offsets()
    fitted = {}
    for name, versions in programs.items():
        for positions, graph in versions:
            lowering = fit(graph, config, memory, packed, program=f"{name}.", offsets=offsets)
            memory = lowering.memory
            fitted.setdefault(name, []).append((positions, lowering))
    code = {}
    for name, versions in fitted.items():
        body = dispatch([(positions, lowering.schedule()) for positions, lowering in versions])
        code[name] = [*offsets.instructions(), *body]
    made = assemble(config, memory, code, buffers=lambda program, name: name.startswith(f"{program}."))
    result = {}
    for name, versions in fitted.items():
        last = versions[-1][1]
        # All versions compute the same tensors, of the same rows.
        probes = Probes.of_program(last.graph, last.channels, [item.result for item in code[name]])
        result[name] = Lowered(made.images[name], *last.host_tensors(made.first), last.compulsory_bytes, probes,
                               skipped=last.skipped)
    return result
