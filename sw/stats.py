"""What a run cost."""

from dataclasses import dataclass, field

__all__ = ["Stats", "roofline_cycles"]


@dataclass(frozen=True)
class Stats:
    """Figures of one run; ``cycles`` and what follows from them are None on the golden model.

    ``macs``: products of linear layers and attention at the model's own shapes that are computed; ``skipped_macs``: those that
    are not, because weights are zero (`sim/README.md`). ``array_macs``: what the array's multipliers did, padding of tiles
    included, and ``gated_macs``: those of them by zero; None unless the golden model has counted them. ``utilization``: macs /
    (rows * cols * cycles). ``roofline_cycles``: what neither array nor memory can go below. ``dram_read_bytes``, ``dram_write_bytes``:
    traffic on the memory port. ``engines``: for each thread of the accelerator the cycles it spent in each state
    (busy, wait_token, wait_memory, wait_weights, drain). ``seconds``: host time of the simulation, on the clock;
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
