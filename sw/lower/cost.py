"""How long instructions take, roughly: enough to order them, never needed for correctness."""

from weft.hw.config import DIVISION_CYCLES

from .events import Event, Thread

__all__ = ["MEMORY_LATENCY", "Timing", "timing"]

#: Cycles from a load's first address to its data, and from a store's last beat to its response.
MEMORY_LATENCY = 72
#: Cycles before a vector instruction's first result and behind its last.
VECTOR_OVERHEAD = 20


class Timing:
    """``busy``: cycles until the thread's next instruction may start; ``events``: cycles from the start until each
    event; ``bus``: cycles of the memory port's data."""
    __slots__ = ("busy", "events", "bus")

    def __init__(self, busy, events, bus=0):
        self.busy, self.events, self.bus = busy, events, bus


def timing(config, item):
    """`Timing` of a `weft.lower.builder.Item`."""
    c, f, name = config, item.fields, item.mnemonic
    if item.thread == Thread.TENSOR:
        steps = c.product_steps(name, f.get("w_format", 0))
        tile = max(f["rows"], steps)
        busy = f["k_tiles"] * f["n_tiles"] * tile
        return Timing(busy, {Event.WEIGHTS: busy - tile, Event.ROWS: busy, Event.SUMS: busy + c.rows + c.cols + 8})
    if item.thread == Thread.VECTOR:
        if name == "TABLE":
            work = -(-256 // c.line_bytes)
        else:
            work = f["rows"] * f["tiles"] * c.groups_per_tile
            if name == "SOFTMAX":
                work *= c.exponential_parts
                if f["last"]:
                    work = max(work, f["rows"] * DIVISION_CYCLES // c.division_units)
            elif name == "NORM":
                work *= max(2, c.product_parts)
            elif name == "STATS" or f.get("multiply"):
                work *= c.product_parts
        busy = work + VECTOR_OVERHEAD
        return Timing(busy, {Event.SOURCE: busy - VECTOR_OVERHEAD // 2, Event.RESULT: busy})
    if name == "INDEX":
        return Timing(MEMORY_LATENCY, {}, 1)
    runs = f["count"] if name == "GATHER" else f["inner_count"]
    beats = runs * -(-f["run_words"] * c.word_bytes // c.data_bytes)
    if item.thread == Thread.STORE:
        return Timing(beats, {Event.STORED: beats + MEMORY_LATENCY}, beats)
    return Timing(beats, {Event.LOADED: beats + MEMORY_LATENCY}, beats)
