"""What a run cost, as figures, as text and as plain values for JSON."""

from dataclasses import dataclass, field

__all__ = ["Stats", "roofline_cycles", "stats_dict", "stats_lines"]

_SCALARS = ("cycles", "macs", "skipped_macs", "array_macs", "gated_macs", "utilization", "roofline_cycles",
            "dram_read_bytes", "dram_write_bytes")


@dataclass(frozen=True)
class Stats:
    """Figures of one run; ``cycles`` and what follows from them are None on the golden model.

    ``macs``: products of linear layers and attention at the model's own shapes that are computed; ``skipped_macs``: those that
    are not, because weights are zero (`sim/README.md`). ``array_macs``: what the array's multipliers did, padding of tiles
    included, and ``gated_macs``: those of them by zero; None unless the golden model has counted them. ``utilization``: macs /
    (rows * cols * cycles). ``roofline_cycles``: what neither array nor memory can go below. ``dram_read_bytes``,
    ``dram_write_bytes``: traffic on the memory port. ``engines``: for each thread of the accelerator the cycles it spent in
    each state (busy, wait_token, wait_memory, wait_weights, drain). ``seconds``: host time of the simulation, on the clock;
    ``cpu_seconds``: processor time that it took.
    """
    macs: int
    roofline_cycles: int
    cycles: int | None = None
    utilization: float | None = None
    dram_read_bytes: int | None = None
    dram_write_bytes: int | None = None
    engines: dict = field(default_factory=dict)
    seconds: float | None = None
    cpu_seconds: float | None = None
    skipped_macs: int = 0
    array_macs: int | None = None
    gated_macs: int | None = None

    @classmethod
    def of_run(cls, config, macs, compulsory_bytes, figures=None, seconds=None, *, skipped_macs=0, golden=None, item=None):
        """Stats of a run on the RTL with its ``figures`` (`weft.sim.rtl.RtlResult.stats`), or on the golden model.

        ``golden``: its `weft.sim.golden.GoldenResult` where there is one; ``item``: which of a batch, if it is one.
        """
        roofline, more = roofline_cycles(config, macs, compulsory_bytes), {"skipped_macs": skipped_macs}
        if golden is not None and golden.gated_macs is not None:
            more |= {"array_macs": golden.macs, "gated_macs": int(golden.gated_macs if item is None else golden.gated_macs[item])}
        if figures is None:
            return cls(macs, roofline, seconds=seconds, **more)
        cycles = figures["cycles"]
        return cls(macs, roofline, cycles, macs / (config.rows * config.cols * cycles), figures["dram_read_bytes"],
                   figures["dram_write_bytes"], figures["engines"], figures["seconds"],
                   figures["cpu_seconds"], **more)

    @classmethod
    def total(cls, config, runs):
        """Stats of several runs on the RTL, one after the other."""
        def summed(name):
            values = [getattr(run, name) for run in runs]
            return None if None in values else sum(values)

        macs, cycles = summed("macs"), summed("cycles")
        engines = {thread: {state: sum(run.engines[thread][state] for run in runs) for state in states}
                   for thread, states in runs[0].engines.items()}
        return cls(macs, summed("roofline_cycles"), cycles, macs / (config.rows * config.cols * cycles),
                   summed("dram_read_bytes"), summed("dram_write_bytes"), engines, summed("seconds"),
                   summed("cpu_seconds"), *(summed(name) for name in ("skipped_macs", "array_macs", "gated_macs")))

    @property
    def roofline_utilization(self):
        """Part of the roofline that was reached: roofline_cycles / cycles."""
        return None if not self.cycles else self.roofline_cycles / self.cycles

    @property
    def sim_khz(self):
        """Simulated cycles per millisecond of processor time, so that what else the machine does hardly shows."""
        return None if not self.cycles or not self.cpu_seconds else self.cycles / self.cpu_seconds / 1000


def roofline_cycles(config, macs, compulsory_bytes):
    """Cycles that computing ``macs`` and moving ``compulsory_bytes`` take at least."""
    return max(-(-macs // (config.rows * config.cols)), -(-compulsory_bytes // config.data_bytes))


def stats_dict(stats):
    """The statistics of a run as a dict of plain values; "engines" is a dict of dicts of cycles."""
    values = {name: getattr(stats, name) for name in _SCALARS}
    values["engines"] = {engine: dict(states) for engine, states in (stats.engines or {}).items()}
    return values


def stats_lines(stats):
    """Lines for people: cycles, utilization, traffic, and a table of what each engine did with the cycles.

    A run on the golden model has no cycles; the lines then give what the program alone determines.
    """
    lines = []
    if stats.cycles is not None:
        lines += [f"cycles       {stats.cycles:>14,}   ({stats.cycles / max(stats.roofline_cycles, 1):.2f} x roofline "
                  f"{stats.roofline_cycles:,})",
                  f"utilization  {100 * stats.utilization:>13.1f}%   of the array's multipliers"]
    lines.append(f"MACs         {stats.macs:>14,}" + f"   ({stats.skipped_macs:,} more skipped)" * bool(stats.skipped_macs))
    if stats.gated_macs is not None:
        lines.append(f"gated        {100 * stats.gated_macs / max(stats.array_macs, 1):>13.1f}%   of the array's "
                     f"multiplications are by zero, padding included")
    if stats.cycles is not None:
        lines.append(f"memory       {stats.dram_read_bytes:>14,} bytes read, {stats.dram_write_bytes:,} written")
    if stats.engines and stats.cycles:
        states = list(next(iter(stats.engines.values())))
        lines.append("")
        lines.append("where the cycles went, in %" + "".join(f"{name.replace('_', ' '):>14}" for name in states)
                     + f"{'idle':>14}")
        for engine, spent in stats.engines.items():
            shares = [spent[name] / stats.cycles for name in states]
            shares.append(max(0.0, 1 - sum(shares)))
            lines.append(f"  {engine:<25}" + "".join(f"{100 * share:>14.1f}" for share in shares))
    return lines
