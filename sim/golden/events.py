"""Checks each event against the memories' history and groups events into the plan of execution.

The plan is a list of groups, each a range of iterations of one instruction that can be computed at once. An event
joins its instruction's last group if nothing it depends on comes later in the plan. Weights, parameters and tables that
were copied unchanged from the constants are traced back to there (``provenance``): the plan computes with the constants
themselves, and a copy that nobody else reads is never made.
"""

import numpy as np

from weft.hw.isa import Element

from . import layout
from .legality import check
from .order import Component, Space
from .regions import Regions
from .vectors import parse_records

__all__ = ["Group", "Recorder"]


class Group:
    """Iterations ``start..stop`` of an operation, computed at once at ``position`` of the plan.

    ``kind``: "run", or "stage" (stationary operands kept for later groups); ``constant``: parameters resolved to
    constants; ``live``: something reads what it wrote.
    """
    __slots__ = ("operation", "kind", "start", "stop", "position", "constant")

    def __init__(self, operation, kind, start, position, constant):
        self.operation, self.kind, self.start, self.stop = operation, kind, start, start
        self.position, self.constant = position, constant


class Resolved:
    """Where an operation's weights or parameters come from: for each tile the memory byte of each word, -1 unknown."""

    def __init__(self, tiles, words):
        self.addresses = np.full((tiles, words), -1, np.int64)


class Recorder:
    """The memories' history and the plan so far.

    ``groups``: the plan; ``stationary``, ``parameters``: `Resolved` by operation number; ``live``: bool for each position.
    ``constants``: the image's, uint8[words, word_bytes].
    """

    def __init__(self, config, image, constants):
        self.config, self.constants = config, constants
        self.regions = Regions(config, image)
        self.clocks = None                              # set by `Threads`
        self.scratchpad = Space("scratchpad", "word", config.scratchpad_words)
        self.accumulators = Space("accumulator", "word", config.accumulator_words)
        self.state = Space("state", "row", config.state_rows)
        self.memory = Space("memory", "byte", self.regions.granules)
        for granules in self.regions.given():
            self.memory.written[granules] = 0
        #: Memory byte each scratchpad word was copied from, if it holds a constant; else -1.
        self.provenance = np.full(config.scratchpad_words, -1, np.int64)
        self._state_kind = np.zeros(config.state_rows, np.uint8)
        self._indices = 0
        self._tables = set()
        self.groups, self.stationary, self.parameters = [], {}, {}
        self._open = {}
        self._checked = -1
        self._live = np.zeros(1024, bool)
        #: Results may fill a part of a word only.
        self._partial = config.panel != config.word_bytes or config.tiles_per_panel > 1

    @property
    def live(self):
        return self._live[:len(self.groups)]

    def barrier(self):
        """Groups end at barriers, so that none reaches across."""
        self._open.clear()

    # The plan.

    def check(self, operation):
        """Raises ProgramError for an operation that is wrong by itself."""
        check(self.config, operation)

    def _name(self, space):
        return self.regions.granule_name if space is self.memory else int

    def _event(self, operation, thread, kind, start, stop, reads=(), writes=(), constant=None, after=-1, knows=None):
        """Checks and marks the accesses ``(space, index, component)``, and puts the event into a group: its position.

        ``knows``: what the results of the array come after, besides what their thread knows."""
        plain = self.clocks.effective[thread]
        late = plain if knows is None else np.maximum(plain, knows)
        dependency = after
        for space, index, component in reads:
            clock = late if component == Component.RESULTS else plain
            space.check_read(operation, index, clock, self._name(space))
            positions = space.write_position[index]
            dependency = max(dependency, positions.max(initial=-1))
            if space is self.scratchpad:
                self._live[positions] = True            # -1 is the spare last entry
        for space, index, component in writes:
            clock = late if component == Component.RESULTS else plain
            space.check_write(operation, index, clock, self._name(space))
            positions = space.write_position[index]
            if space is self.scratchpad and component == Component.VECTOR_WRITES and self._partial:
                self._live[positions] = True            # the rest of the word stays
            dependency = max(dependency, positions.max(initial=-1),
                             space.read_position[:, index].max(initial=-1))
        key = operation.number, kind
        group = self._open.get(key)
        if group is None or dependency > group.position or group.stop != start or group.constant != constant:
            group = Group(operation, kind, start, len(self.groups), constant)
            self.groups.append(group)
            self._open[key] = group
            if len(self.groups) >= self._live.size:
                self._live = np.concatenate([self._live[:-1], np.zeros(self._live.size + 1, bool)])
        group.stop = stop
        for space, index, component in reads:
            space.mark_read(index, component, self.clocks.time[component], group.position)
        for space, index, component in writes:
            space.mark_write(index, component, self.clocks.time[component], group.position)
        return group.position

    def _constant_read(self, operation, thread, index):
        """Checks and marks a read of words that may be resolved to constants: their memory bytes, or None."""
        space = self.scratchpad
        space.check_read(operation, index, self.clocks.effective[thread], int)
        addresses = self.provenance[index]
        if (addresses < 0).any():
            return None
        space.mark_read(index, thread, self.clocks.time[thread], -1)
        return addresses

    # Load and store.

    def dma(self, operation, thread, start, stop):
        f = operation.f
        words = layout.dma_words(f, start, stop)
        addresses = layout.dma_addresses(f, start, stop)
        size = f.run_words * self.config.word_bytes
        if operation.mnemonic == "STORE":
            granules = self.regions.check_write(operation, addresses, size)
            self._event(operation, thread, "run", start, stop, [(self.scratchpad, words, thread)],
                        [(self.memory, granules, thread)])
            return
        granules = self.regions.check_read(operation, addresses, size)
        self._event(operation, thread, "run", start, stop, [(self.memory, granules, thread)],
                    [(self.scratchpad, words, thread)])
        source = addresses[:, :, None] + np.arange(f.run_words) * self.config.word_bytes
        self.provenance[words] = np.where(source < self.regions.constant_bytes, source, -1)

    def index(self, operation):
        f = operation.f
        granules = self.regions.check_read(operation, np.array([f.dram_addr]), 4 * f.count)
        self._event(operation, Component.LOAD, "run", 0, 1, [(self.memory, granules, Component.LOAD)])
        self._indices = max(self._indices, f.count)

    def gather(self, operation):
        f = operation.f
        if f.first + f.count > self._indices:
            raise operation.error(f"uses index entry {f.first + f.count - 1}, {self._indices} have been read")
        words = f.spm_addr + np.arange(f.count)[:, None] * f.spm_stride + np.arange(f.run_words)
        # Which rows is known only at run time: anything in the table's buffer may be read.
        granules = self.regions.buffer_granules(operation, f.dram_addr)
        granules = granules[self.memory.written[granules] >= 0]
        self._event(operation, Component.LOAD, "run", 0, 1, [(self.memory, granules, Component.LOAD)],
                    [(self.scratchpad, words, Component.LOAD)])
        self.provenance[words] = -1

    # Tensor.

    def weights(self, operation, start, stop):
        f, config = operation.f, self.config
        if operation.mnemonic == "MATMUL":
            resolved = self.weights_of(operation)
            words = layout.weight_words(config, f, start, stop)
            if layout.four_bit(f) and start == 0:
                # A word of scales is read when the first of its rows is needed.
                scales = layout.scale_words(config, f, np.arange(f.k_tiles * f.n_tiles))
                self.scratchpad.check_read(operation, scales, self.clocks.effective[Component.WEIGHTS], int)
            addresses = self._constant_read(operation, Component.WEIGHTS, words)
            if addresses is None:
                resolved.stage = self._event(operation, Component.WEIGHTS, "stage", start, stop,
                                             [(self.scratchpad, words, Component.WEIGHTS)])
            else:
                resolved.addresses[start:stop] = addresses
            return
        outer, inner = (f.k_tiles, f.n_tiles) if f.k_outer else (f.n_tiles, f.k_tiles)
        parts = []
        for o0, o1, i0, i1 in layout.tile_runs(outer, inner, start, stop):
            n0, n1, k0, k1 = (i0, i1, o0, o1) if f.k_outer else (o0, o1, i0, i1)
            words, _ = layout.stationary_words(config, operation.mnemonic, f, n0, n1, k0, k1)
            parts.append(words.reshape(-1))
        words = np.concatenate(parts)
        resolved = self.weights_of(operation)
        resolved.stage = self._event(operation, Component.WEIGHTS, "stage", start, stop,
                                     [(self.scratchpad, words, Component.WEIGHTS)])

    def weights_of(self, operation):
        """`Resolved` of a product's stationary operand; ``stage``: position of its last staging group (-1: none)."""
        resolved = self.stationary.get(operation.number)
        if resolved is None:
            f = operation.f
            words = layout.tile_words(self.config, f) if operation.mnemonic == "MATMUL" else 0
            resolved = self.stationary[operation.number] = Resolved(f.k_tiles * f.n_tiles, words)
            resolved.stage = -1
        return resolved

    def stream(self, operation, start, stop, loaded):
        """``loaded``: clock of the weight loader after the last of these tiles."""
        f, config = operation.f, self.config
        outer, inner = (f.k_tiles, f.n_tiles) if f.k_outer else (f.n_tiles, f.k_tiles)
        reads, writes = [], []
        for o0, o1, i0, i1 in layout.tile_runs(outer, inner, start, stop):
            n0, n1, k0, k1 = (i0, i1, o0, o1) if f.k_outer else (o0, o1, i0, i1)
            moving = layout.moving_words(config, f, k0, k1)
            reads.append((self.scratchpad, moving, Component.STREAM))
            results = layout.accumulator_words(f.acc_base, f.acc_stride, np.arange(n0, n1), f.rows)
            if k0 == 0 and f.accumulate:
                reads.append((self.accumulators, results, Component.RESULTS))
                if f.rescale:
                    rows = f.state_base + np.arange(f.rows)
                    self.state.check_range(operation, rows, "reads")
                    self._check_state(operation, rows, (1, 2), "softmax rescale")
                    reads.append((self.state, rows, Component.STREAM))
            writes.append((self.accumulators, results, Component.RESULTS))
        if start == 0 and f.n_tiles > 1 and f.acc_stride < f.rows:
            raise operation.error(f"acc_stride is {f.acc_stride}, N tiles of {f.rows} rows overlap")
        self._event(operation, Component.STREAM, "run", start, stop, reads, writes,
                    after=self.weights_of(operation).stage, knows=loaded)

    def _check_state(self, operation, rows, kinds, what):
        bad = ~np.isin(self._state_kind[rows], kinds)
        if bad.any():
            raise operation.error(f"state row {rows[bad][0]} holds no {what}")

    # Vector.

    def vector(self, operation, start, stop):
        reads, writes = [], []
        getattr(self, f"_{operation.mnemonic.lower()}")(operation, start, stop, reads, writes)

    def _operand(self, f, prefix, kind, start, stop):
        return layout.panel_words(self.config, kind, getattr(f, f"{prefix}_base"), getattr(f, f"{prefix}_row_stride"),
                                  getattr(f, f"{prefix}_panel_stride"), f.rows, start, stop)

    def _vector_event(self, operation, start, stop, reads, writes, records, first=0):
        """An event whose parameter ``records`` (words[tiles, words] from tile ``first``) may be constants."""
        addresses = self._constant_read(operation, Component.VECTOR, records)
        constant = addresses is not None
        if constant:
            resolved = self.parameters.get(operation.number)
            if resolved is None:
                tiles = max(getattr(operation.f, "tiles", 1), 2)
                resolved = self.parameters[operation.number] = Resolved(tiles, records.shape[1])
            resolved.addresses[first:first + len(records)] = addresses
        else:
            reads.append((self.scratchpad, records, Component.VECTOR))
        self._event(operation, Component.VECTOR, "run", start, stop, reads, writes, constant)
        for space, index, _ in writes:
            if space is self.scratchpad:
                self.provenance[index] = -1

    def _constant_tiles(self, operation, records):
        """Which tiles of a REQUANT are known to have constant channels only, by the words of their records: bool[tiles]."""
        if not self.config.constant_channels or operation.f.row_scale:
            return np.zeros(len(records), bool)
        self.scratchpad.check_range(operation, records, "reads")
        addresses = self.provenance[records]
        _, _, shift, _ = parse_records(self.config, self.constants[addresses // self.config.word_bytes], False)
        return (addresses >= 0).all(1) & (shift.reshape(len(records), -1) == 0).all(1)

    def _requant(self, operation, start, stop, reads, writes):
        f = operation.f
        records = layout.param_words(self.config, f, start, stop)
        if f.src_type == Element.ACC:
            words = f.src_base + np.arange(start, stop)[:, None] * f.src_panel_stride + np.arange(f.rows) * f.src_row_stride
            self.accumulators.check_range(operation, words, "reads")
            counts = np.broadcast_to(~self._constant_tiles(operation, records), stop - start)
            reads.append((self.accumulators, words[counts], Component.VECTOR))
        else:
            reads.append((self.scratchpad, self._operand(f, "src", f.src_type, start, stop), Component.VECTOR))
        if f.residual or f.multiply:
            reads.append((self.scratchpad, self._operand(f, "res", f.res_type, start, stop), Component.VECTOR))
        if f.row_scale:
            rows = f.state_base + np.arange(f.rows)
            self.state.check_range(operation, rows, "reads")
            self._check_state(operation, rows, (2,), "softmax division")
            reads.append((self.state, rows, Component.VECTOR))
        if f.table and f.slot not in self._tables:
            raise operation.error(f"table slot {f.slot} has not been loaded")
        writes.append((self.scratchpad, self._operand(f, "dst", f.dst_type, start, stop), Component.VECTOR_WRITES))
        self._vector_event(operation, start, stop, reads, writes, records, 0 if f.param_hold else start)

    def _norm(self, operation, start, stop, reads, writes):
        f = operation.f
        rows = f.state_base + np.arange(f.rows)
        self.state.check_range(operation, rows, "reads")
        self._check_state(operation, rows, (3,), "row statistics")
        reads += [(self.scratchpad, self._operand(f, "src", layout.INT16, start, stop), Component.VECTOR),
                  (self.state, rows, Component.VECTOR)]
        writes.append((self.scratchpad, self._operand(f, "dst", f.dst_type, start, stop), Component.VECTOR_WRITES))
        self._vector_event(operation, start, stop, reads, writes, layout.param_words(self.config, f, start, stop), start)

    def _stats(self, operation, start, stop, reads, writes):
        f = operation.f
        rows = f.state_base + np.arange(f.rows)
        reads.append((self.scratchpad, self._operand(f, "src", layout.INT16, 0, f.tiles), Component.VECTOR))
        writes.append((self.state, rows, Component.VECTOR_WRITES))
        self._event(operation, Component.VECTOR, "run", start, stop, reads, writes)
        self._state_kind[rows] = 3

    def _softmax(self, operation, start, stop, reads, writes):
        f = operation.f
        rows = f.state_base + np.arange(f.rows)
        scores = layout.accumulator_words(f.acc_base, f.acc_stride, np.arange(f.tiles), f.rows)
        reads.append((self.accumulators, scores, Component.VECTOR))
        destination = self._probabilities(f)
        if f.mask:
            mask, _ = layout.mask_words(self.config, f)
            if np.isin(mask, destination).any():
                raise operation.error("the destination overlaps the mask")
            reads.append((self.scratchpad, mask, Component.VECTOR))
        self.state.check_range(operation, rows, "writes")
        if not f.first:
            self._check_state(operation, rows, (1, 2), "softmax state")
            reads.append((self.state, rows, Component.VECTOR))
        writes += [(self.state, rows, Component.VECTOR_WRITES), (self.scratchpad, destination, Component.VECTOR_WRITES)]
        records = layout.softmax_param_words(self.config, f)
        if np.isin(records, destination).any():
            raise operation.error("the destination overlaps the parameter records")
        self._vector_event(operation, start, stop, reads, writes, records if f.last else records[:1])
        self._state_kind[rows] = 2 if f.last else 1

    def _probabilities(self, f):
        panels = np.arange(f.tiles // self.config.tiles_per_panel)
        return f.dst_base + panels * f.dst_panel_stride + np.arange(f.rows)[:, None]

    def _table(self, operation, start, stop, reads, writes):
        words = operation.f.src_base + np.arange(max(1, 256 // self.config.word_bytes))
        self._vector_event(operation, start, stop, reads, writes, words[None, :])
        self._tables.add(operation.f.slot)
