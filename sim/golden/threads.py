"""Symbolic execution of the threads at the granularity of tokens.

The dispatcher and the five threads are generators that yield where they wait. An *event* is a stretch of one
instruction's loop without a token in between; `events.Recorder` checks it and puts it into the plan of execution.
"""

from collections import deque

from weft.hw.errors import ProgramError
from weft.hw.isa import Engine

from . import layout
from .order import Clocks, Component, Counters

__all__ = ["Threads"]

_QUEUES = (Engine.LOAD, Engine.TENSOR, Engine.VECTOR, Engine.STORE)


def _segments(stop, *boundaries):
    """``(start, end)`` pairs that cut ``0..stop`` at the given positions."""
    cuts = sorted({0, stop}.union(*boundaries))
    return zip(cuts, cuts[1:])


class Threads:
    """Runs every thread until the program ends.

    The weight loader runs ahead of the streamer by one tile, queues hold ``queue_depth`` unfinished instructions: the
    least that the hardware does, so that a program accepted here cannot come to rest there.

    ``recorder`` gets ``load``, ``weights``, ``stream``, ``vector``, ``store`` calls for each event.
    """

    def __init__(self, config, operations, recorder):
        self.config, self.operations, self.recorder = config, operations, recorder
        self.clocks = recorder.clocks = Clocks()
        self.counters = Counters(self.clocks, operations, config.queue_depth)
        self._queues = {engine: deque() for engine in _QUEUES}
        self._weight_queue = deque()
        self._unfinished = dict.fromkeys(_QUEUES, 0)
        self._waits = {}                # thread name: (operation, semaphore or text)
        self._steps = 0
        # Tiles over the whole program: loaded so far; and how far the streamer has a free path.
        self._loaded = self._clear = 0
        self._weight_clock = None
        #: ``(tiles loaded, clock)`` of tiles that are not streamed yet, and the last one that is.
        self._weight_clocks = deque()
        self._syncs_done = 0

    def run(self):
        """Executes to END; raises ProgramError at a deadlock."""
        threads = {"dispatcher": self._dispatch(), "load engine": self._simple(Engine.LOAD, Component.LOAD),
                   "weight loader": self._weights(), "row streamer": self._stream(),
                   "vector engine": self._simple(Engine.VECTOR, Component.VECTOR),
                   "store engine": self._simple(Engine.STORE, Component.STORE)}
        dispatcher = threads["dispatcher"]
        while True:
            before = self._steps
            for generator in threads.values():
                if next(generator, "end") == "end" and generator is dispatcher:
                    return
            if self._steps == before:
                raise ProgramError("deadlock: " + "; ".join(self._waiting(name) for name in threads if name in self._waits))

    def _waiting(self, name):
        operation, what = self._waits[name]
        return f"the {name} waits for {f'semaphore {what}' if isinstance(what, int) else what} in {operation}"

    # Dispatch.

    def _dispatch(self):
        limit = self.config.queue_depth
        for operation in self.operations:
            if operation.engine == Engine.CONTROL:
                if operation.mnemonic in ("END", "BARRIER"):
                    while any(self._unfinished.values()):
                        self._waits["dispatcher"] = operation, "the engines"
                        yield
                    self.clocks.join_all()
                    self.recorder.barrier()
                    self._steps += 1
                continue
            self.recorder.check(operation)
            while self._unfinished[operation.engine] >= limit:
                self._waits["dispatcher"] = operation, "a place in the engine's queue"
                yield
            self._queues[operation.engine].append(operation)
            if operation.engine == Engine.TENSOR:
                self._weight_queue.append(operation)
            self._unfinished[operation.engine] += 1
            self._steps += 1
        self._waits.pop("dispatcher", None)

    def _next(self, name, queue):
        """The next operation of a thread; waits for one."""
        while not queue:
            self._waits.pop(name, None)
            yield
        return queue.popleft()

    def _finish(self, engine):
        self._unfinished[engine] -= 1
        self._steps += 1

    # Tokens.

    def _take(self, name, thread, operation, number, count=1):
        for _ in range(count if number else 0):
            while not self.counters.available(number):
                self._waits[name] = operation, number
                yield
            self.counters.consume(operation, number, thread)
            self._steps += 1
        self._waits.pop(name, None)

    def _give(self, thread, operation, number, writes=True, count=1, knows=None):
        if number and count:
            self.counters.signal(operation, number, thread, writes, count, knows)
            self._steps += 1

    def _sync(self, name, thread, operation, writes=True):
        f = operation.f
        yield from self._take(name, thread, operation, f.wait, f.wait_count)
        self._give(thread, operation, f.signal, writes, f.signal_count)
        if writes:                      # the engine's pipeline is empty
            self.clocks.join(thread, self.clocks.publish(thread))

    # Load, vector and store engines: one thread each.

    def _simple(self, engine, thread):
        name = Component.NAMES[thread]
        queue = self._queues[engine]
        bodies = {"LOAD": self._dma, "STORE": self._dma, "INDEX": self._gather, "GATHER": self._gather}
        while True:
            operation = yield from self._next(name, queue)
            if operation.mnemonic.endswith("_SYNC"):
                yield from self._sync(name, thread, operation)
            else:
                yield from bodies.get(operation.mnemonic, self._vector)(name, thread, operation)
            self._finish(engine)

    def _dma(self, name, thread, operation):
        f = operation.f
        each = (f.wait and f.wait_each) or (f.signal and f.signal_each)
        for start, stop in _segments(f.outer_count, range(f.outer_count) if each else ()):
            if start == 0 or f.wait_each:
                yield from self._take(name, thread, operation, f.wait)
            self.recorder.dma(operation, thread, start, stop)
            if f.signal_each or stop == f.outer_count:
                self._give(thread, operation, f.signal)

    def _gather(self, name, thread, operation):
        f = operation.f
        yield from self._take(name, thread, operation, f.wait)
        if operation.mnemonic == "INDEX":
            self.recorder.index(operation)
        else:
            self.recorder.gather(operation)
            self._give(thread, operation, f.signal)

    def _vector(self, name, thread, operation):
        f, mnemonic = operation.f, operation.mnemonic
        if mnemonic in ("REQUANT", "NORM"):
            yield from self._tiles(name, thread, operation)
            return
        each = mnemonic == "SOFTMAX"
        panels = f.tiles // self.config.tiles_per_panel if each else 1
        yield from self._take(name, thread, operation, f.src_wait, f.tiles if each and f.src_wait_each else 1)
        if each:
            yield from self._take(name, thread, operation, f.dst_wait)
        self.recorder.vector(operation, 0, 1)
        self._give(thread, operation, f.src_signal, False, f.tiles if each and f.src_signal_each else 1)
        if each:
            self._give(thread, operation, f.dst_signal, True, panels if f.dst_signal_each else 1)

    def _tiles(self, name, thread, operation):
        """REQUANT and NORM: tokens by tile of the source and by panel of the destination."""
        f, per = operation.f, self.config.tiles_per_panel
        by_tile = (f.src_wait and f.src_wait_each) or (f.src_signal and f.src_signal_each)
        by_panel = (f.dst_wait and f.dst_wait_each) or (f.dst_signal and f.dst_signal_each)
        step = 1 if by_tile else per if by_panel else f.tiles
        for start, stop in _segments(f.tiles, range(0, f.tiles, step or 1)):
            if start == 0 or f.src_wait_each:
                yield from self._take(name, thread, operation, f.src_wait)
            if start == 0 or (f.dst_wait_each and start % per == 0):
                yield from self._take(name, thread, operation, f.dst_wait)
            self.recorder.vector(operation, start, stop)
            if stop == f.tiles or f.src_signal_each:
                self._give(thread, operation, f.src_signal, False)
            if stop == f.tiles or (f.dst_signal_each and stop % per == 0):
                self._give(thread, operation, f.dst_signal)

    # Tensor engine: two threads.

    def _weights(self):
        name, thread = "weight loader", Component.WEIGHTS
        base = syncs = 0
        while True:
            operation = yield from self._next(name, self._weight_queue)
            if operation.mnemonic == "TENSOR_SYNC":
                syncs += 1
                while self._syncs_done < syncs:
                    yield
                continue
            f = operation.f
            tiles = f.k_tiles * f.n_tiles
            chunk = f.chunk_tiles if operation.mnemonic == "MATMUL" else tiles
            for start, stop in _segments(tiles, range(0, tiles, chunk) if f.w_wait or f.w_signal else ()):
                yield from self._take(name, thread, operation, f.w_wait)
                while start < stop:
                    while self._clear < base + start:
                        self._waits[name] = operation, "the row streamer"
                        yield
                    end = min(stop, self._clear + 1 - base)
                    self.recorder.weights(operation, start, end)
                    self._weight_clock = self.clocks.publish(thread)
                    self._loaded = base + end
                    self._weight_clocks.append((self._loaded, self._weight_clock))
                    self._steps += 1
                    start = end
                self._give(thread, operation, f.w_signal)
            self._waits.pop(name, None)
            base += tiles

    def _stream(self):
        name, thread = "row streamer", Component.STREAM
        base = 0
        while True:
            operation = yield from self._next(name, self._queues[Engine.TENSOR])
            if operation.mnemonic == "TENSOR_SYNC":
                # Holds the loader as well; results may still be on their way, so the signal does not cover them.
                if self._weight_clock is not None:
                    self.clocks.join(thread, self._weight_clock)
                yield from self._sync(name, thread, operation, writes=False)
                self.clocks.join(Component.WEIGHTS, self.clocks.publish(thread, False))
                self._syncs_done += 1
                self._finish(Engine.TENSOR)
                continue
            tiles = operation.f.k_tiles * operation.f.n_tiles
            waits, signals = self._stream_tokens(operation)
            for start, stop in _segments(tiles, waits, signals):
                for number in waits.get(start, ()):
                    yield from self._take(name, thread, operation, number)
                self._clear = base + stop
                self._steps += 1
                while self._loaded < base + stop:
                    self._waits[name] = operation, "the weight loader"
                    yield
                self._waits.pop(name, None)
                # What the loader knew with this tile; it may be further, or not.
                while self._weight_clocks[0][0] < base + stop:
                    self._weight_clocks.popleft()
                known = self._weight_clocks[0][1]
                # Rows are read ahead of their tile: what the loader waited for does not order them. Results are not.
                self.recorder.stream(operation, start, stop, known)
                for number, writes in signals.get(stop, ()):
                    self._give(thread, operation, number, writes, knows=known if writes else None)
            base += tiles
            self._finish(Engine.TENSOR)

    def _stream_tokens(self, operation):
        """``(waits, signals)``: semaphores consumed before the tile, and added after so many tiles."""
        f = operation.f
        nt, kt, per = f.n_tiles, f.k_tiles, self.config.k_tiles_per_panel
        tiles = nt * kt
        waits, signals = {}, {}

        def position(n, k):
            return k * nt + n if f.k_outer else n * kt + k

        if f.a_wait:
            # The first K tile, and those that begin a panel.
            for k in (0, *range(per - f.k_offset, kt, per)) if f.a_wait_each else (0,):
                first, stop = layout.moving_panels(self.config, f, k, k + 1) if f.a_wait_each else (0, 1)
                waits.setdefault(position(0, k), []).extend([f.a_wait] * (stop - first))
        if f.acc_wait:
            for n in range(nt) if f.acc_wait_each else (0,):
                waits.setdefault(position(n, 0), []).append(f.acc_wait)
        if f.acc_signal:
            for n in range(nt) if f.acc_signal_each else (nt - 1,):
                signals.setdefault(position(n, kt - 1) + 1, []).append((f.acc_signal, True))
        if f.a_signal:
            signals.setdefault(tiles, []).append((f.a_signal, False))
        return waits, signals
