"""Golden model against RTL: every byte that the store engine wrote, in order, and every buffer."""

import numpy as np

from weft.hw.errors import Mismatch

__all__ = ["compare", "run_both"]


def _place(image, address):
    """Buffer name and index of a byte offset."""
    for buffer in image.buffers:
        if buffer.offset <= address < buffer.offset + buffer.bytes:
            return f"{buffer.name}[{address - buffer.offset}]"
    return f"offset 0x{address:x}"


def _instruction(image, pc):
    source = image.sources[pc] if pc < len(image.sources) else ""
    return f"instruction {pc} (STORE{', ' + source if source else ''})"


def compare(image, golden, rtl):
    """Raises Mismatch naming buffer, index and instruction if the two results of an image differ.

    ``golden``: `weft.sim.golden.GoldenResult` of one input; ``rtl``: `weft.sim.rtl.RtlResult`. Returns how many bytes were
    compared.
    """
    log = golden.store_log
    unit = log.data.shape[-1]
    wanted_at = (log.addresses[:, None] + np.arange(unit)).reshape(-1)
    wanted = log.data.reshape(-1)
    found_at, found = rtl.store_log.bytes()
    count = min(wanted_at.size, found_at.size)
    differ = (wanted_at[:count] != found_at[:count]) | (wanted[:count] != found[:count])
    if differ.any():
        n = int(differ.argmax())
        where = _place(image, int(wanted_at[n]))
        pc = int(log.pcs[n // unit])
        if wanted_at[n] != found_at[n]:
            raise Mismatch(f"byte {n} of the stores belongs to {where} in the golden model and to "
                           f"{_place(image, int(found_at[n]))} in the RTL, {_instruction(image, pc)}")
        raise Mismatch(f"{where} is {wanted[n]} in the golden model and {found[n]} in the RTL "
                       f"({int(differ.sum())} of {count} bytes differ), {_instruction(image, pc)}")
    if wanted_at.size != found_at.size:
        pc = int(log.pcs[count // unit]) if count < wanted_at.size else int(log.pcs[-1]) if log.pcs.size else 0
        raise Mismatch(f"the golden model stores {wanted_at.size} bytes and the RTL {found_at.size}, "
                       f"{_instruction(image, pc)}")
    for name, data in golden.buffers.items():
        differ = data != rtl.buffers[name]
        if differ.any():
            n = int(differ.argmax())
            raise Mismatch(f"{name}[{n}] is {data[n]} in the golden model and {rtl.buffers[name][n]} in the RTL's memory, "
                           "although both stored the same")
    return count


def run_both(image, inputs, rtl, golden=None, **options):
    """Runs an image on a `GoldenMachine` and an `RtlMachine` and compares: ``(GoldenResult, RtlResult)``.

    ``options`` go to `RtlMachine.run`. Raises Mismatch, and what the two raise.
    """
    from weft.sim.golden import GoldenMachine

    golden = golden or GoldenMachine(image)
    expected = golden.run(inputs, registers=options.get("registers"))
    found = rtl.run(image, inputs, **options)
    compare(image, expected, found)
    return expected, found
