"""Statistics of a run as text and as plain values for JSON."""

__all__ = ["stats_dict", "stats_lines"]

_SCALARS = ("cycles", "macs", "skipped_macs", "array_macs", "gated_macs", "utilization", "roofline_cycles", "dram_read_bytes", "dram_write_bytes")


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
