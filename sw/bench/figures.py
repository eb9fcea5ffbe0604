"""The figures of one bench: what `weft bench` prints.

``tell`` is called with words on the state of the work.
"""

from weft.hw.errors import Mismatch
from weft.stats import Stats

__all__ = ["decode_figures", "no_words", "prefill_figures", "program_figures"]


def no_words(words):
    """Where nobody listens."""


def program_figures(program, args, kwargs, tell):
    """Figures of one run of a `weft.Program`; `exact` is true only if every byte was compared and equal."""
    progress = _ready(program, tell)

    def verify():
        return program.verify(args, kwargs, progress=progress).stats

    def run():
        return program.run(args, kwargs, "rtl", progress=progress).stats

    return _figures(program.config, *_compared(verify, run))


def prefill_figures(program, ids, tell):
    """Figures of all runs that take the tokens ``ids`` of a new text; a `weft.DecoderProgram`."""
    progress = _ready(program, tell)

    def take(backend):
        session, stats = program.session(backend, progress=progress), []
        rows = program.steps["prefill"].rows
        for start in range(0, len(ids), rows):
            session.step(ids[start:start + rows])
            stats.append(session.stats)
        return Stats.total(program.config, stats)

    return _figures(program.config, *_compared(lambda: take("verify"), lambda: take("rtl")))


def decode_figures(program, ids, tell):
    """Figures of the run that takes the last of ``ids``; those before it only fill the cache, on the golden model."""
    session = program.session("golden", progress=_ready(program, tell))
    tell(f"{len(ids) - 1} tokens on the golden model")
    session.step(ids[:-1])

    def take(backend):
        session.backend = backend
        session.step(ids[-1:])
        return session.stats

    return _figures(program.config, *_compared(lambda: take("verify"), lambda: take("rtl")))


def _ready(program, tell):
    """Builds the simulation; returns what tells its progress."""
    tell("building the simulation")
    program.prepare()
    tell("running")
    return lambda cycles: tell(f"{cycles:,} cycles")


def _compared(verify, run):
    """``(stats, first difference or None)``."""
    try:
        return verify(), None
    except Mismatch as error:
        return run(), str(error)


def _figures(config, stats, difference):
    figures = {
        "config": config.name, "rows": config.rows, "cols": config.cols,
        "cycles": stats.cycles, "macs": stats.macs, "skipped_macs": stats.skipped_macs, "utilization": round(stats.utilization, 4),
        "roofline_cycles": stats.roofline_cycles, "roofline_utilization": round(stats.roofline_utilization, 4),
        "dram_read_bytes": stats.dram_read_bytes, "dram_write_bytes": stats.dram_write_bytes,
        "array_macs": stats.array_macs, "gated_macs": stats.gated_macs,
        "exact": difference is None, "sim_khz": round(stats.sim_khz, 1),
    }
    if difference is not None:
        figures["difference"] = difference
    return figures
