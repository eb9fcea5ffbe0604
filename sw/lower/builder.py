"""Collects instructions in semantic order, each with the words it reads and writes.

The order of emission is the meaning of the program: executed one after the other, the instructions compute the
graph. `weft.lower.schedule` reorders them where nothing conflicts and inserts the tokens that keep the concurrent
machine equivalent.
"""

from dataclasses import dataclass

import numpy as np

from weft.hw import isa

from .events import Event, Space, Thread

__all__ = ["Access", "Item", "Moving", "Run", "Builder", "words_of"]

_ENGINE_THREAD = {isa.Engine.LOAD: Thread.LOAD, isa.Engine.TENSOR: Thread.TENSOR, isa.Engine.VECTOR: Thread.VECTOR,
                  isa.Engine.STORE: Thread.STORE}


@dataclass(frozen=True)
class Access:
    """``words`` (see `words_of`) of ``space`` that an instruction reads or writes; over once ``event`` is announced."""
    event: Event
    space: Space
    words: np.ndarray | slice
    write: bool


@dataclass(frozen=True)
class Moving:
    """Scalar register added to an address in memory; its value lies in ``low..high`` (bytes, multiples of the DMA
    unit)."""
    register: int
    low: int
    high: int


@dataclass
class Item:
    """One instruction: mnemonic, fields without tokens, its accesses and the layer it serves."""
    mnemonic: str
    fields: dict
    accesses: list
    source: str = ""
    #: Its memory address counts from the first buffer instead of from the constants.
    relocate: bool = False
    #: What it computes of a tensor: ``(name, first row, first panel)``, or None.
    result: tuple = None

    @property
    def thread(self):
        return _ENGINE_THREAD[isa.INSTRUCTIONS[self.mnemonic].engine]


def words_of(base, *dims):
    """Words ``base + sum(i_k * stride_k)`` for all ``0 <= i_k < count_k``; dims are ``(count, stride)``.

    An index into an array of words: a slice where they are contiguous (much faster), else an int64 array.
    """
    dims = sorted(((count, stride) for count, stride in dims if count != 1), key=lambda d: d[1])
    total = 1
    for count, stride in dims:
        if stride != total:
            break
        total *= count
    else:
        return slice(base, base + total)
    words = np.array([base], np.int64)
    for count, stride in reversed(dims):
        words = (words[:, None] + np.arange(count, dtype=np.int64) * stride).reshape(-1)
    return words


def _result(out, row, panel):
    """What writing to a view computes, for `Item.result`."""
    return (out.tensor, row, panel) if out.tensor else None


@dataclass(frozen=True)
class Run:
    """Weights that one product streams: fields of its MATMUL, and the words it reads, ``[(first, count)]``."""
    fields: dict
    words: list

    @classmethod
    def of(cls, base, words, group=None, scales=0):
        """Of tiles from word ``base`` on; ``group``: ``w_group`` of 4-bit weights, whose scales begin with word ``scales``."""
        four_bit = {} if group is None else {"w_format": isa.WeightFormat.FOUR_BIT, "w_group": group, "s_base": scales}
        return cls({"w_base": base} | four_bit, words)


class Builder:
    """Emits instructions of one program for ``config``; ``source`` names the layer being lowered."""

    def __init__(self, config):
        self.config = config
        self.items = []
        self.source = ""

    def _add(self, mnemonic, fields, *accesses):
        item = Item(mnemonic, fields, [Access(*a) for a in accesses], self.source)
        self.items.append(item)
        return item

    # Memory <-> scratchpad. Memory addresses and strides are bytes, scratchpad ones words.

    def _copy(self, mnemonic, event, memory, spm, run_words, count, memory_stride, spm_stride, tracked, moving):
        c = self.config
        step = c.dma_words
        memory_words = slice(0, 0)
        if tracked:                     # all words that the run may reach
            low, reach = (moving.low, moving.high - moving.low) if moving else (0, 0)
            memory_words = words_of((memory + low) // c.dma_bytes, (count, memory_stride // c.dma_bytes),
                                    (run_words // step + reach // c.dma_bytes, 1))
        spm_words = words_of(spm, (count, spm_stride), (run_words, 1))
        load = mnemonic == "LOAD"
        item = self._add(mnemonic, dict(dram_addr=memory, spm_addr=spm, run_words=run_words, inner_count=count,
                                 inner_dram_stride=memory_stride, inner_spm_stride=spm_stride, outer_count=1),
                  (event, Space.SCRATCHPAD, spm_words, load), (event, Space.MEMORY, memory_words, not load))
        item.relocate = tracked
        if moving:
            item.fields["dram_reg"] = moving.register

    def _runs(self, mnemonic, event, memory, spm, run_words, count, memory_stride, spm_stride, tracked, moving=None):
        """Splits what the fields of one instruction cannot hold."""
        c = self.config
        limit_run = (1 << 16) - c.dma_words
        limit_count = (1 << 14) - 1
        if count > 1 and run_words * c.word_bytes == memory_stride and run_words == spm_stride \
                and run_words * count <= limit_run:
            run_words, count = run_words * count, 1
        if count == 1:
            memory_stride = spm_stride = 0
        if memory_stride >= 1 << 28 or run_words > limit_run:
            for i in range(count):
                for start in range(0, run_words, limit_run):
                    self._copy(mnemonic, event, memory + i * memory_stride + start * c.word_bytes,
                               spm + i * spm_stride + start, min(limit_run, run_words - start), 1, 0, 0, tracked,
                               moving)
            return
        for first in range(0, count, limit_count):
            self._copy(mnemonic, event, memory + first * memory_stride, spm + first * spm_stride, run_words,
                       min(limit_count, count - first), memory_stride, spm_stride, tracked, moving)

    def load(self, memory, spm, run_words, count=1, memory_stride=0, spm_stride=0, tracked=True, moving=None):
        """``count`` runs of ``run_words`` from memory to scratchpad; not ``tracked``: from the constants. ``moving``: a
        `Moving` part of the address."""
        self._runs("LOAD", Event.LOADED, memory, spm, run_words, count, memory_stride, spm_stride, tracked, moving)

    def load_apart(self, memory, spm, words, stride, count, memory_stride, spm_stride):
        """``count`` times ``words`` neighbours among the constants to words ``stride`` apart in the scratchpad."""
        c = self.config
        self._add("LOAD", dict(dram_addr=memory, spm_addr=spm, run_words=1, inner_count=words, inner_dram_stride=c.word_bytes,
                               inner_spm_stride=stride, outer_count=count, outer_dram_stride=memory_stride,
                               outer_spm_stride=spm_stride),
                  (Event.LOADED, Space.SCRATCHPAD, words_of(spm, (count, spm_stride), (words, stride)), True))

    def store(self, memory, spm, run_words, count=1, memory_stride=0, spm_stride=0, moving=None):
        """``count`` runs of ``run_words`` from scratchpad to memory. ``moving``: a `Moving` part of the address."""
        self._runs("STORE", Event.STORED, memory, spm, run_words, count, memory_stride, spm_stride, True, moving)

    def index(self, memory, count):
        """Row numbers for the following gathers, from a buffer."""
        self._add("INDEX", dict(dram_addr=memory, count=count)).relocate = True

    def gather(self, memory, row_bytes, out, row, first, count):
        """Whole rows of ``out`` from ``row`` on: those of a table chosen by ``count`` index entries from ``first`` on."""
        spm, words = out.address(row, 0), out.row_stride
        item = self._add("GATHER", dict(dram_addr=memory, dram_stride=row_bytes, spm_addr=spm, spm_stride=words,
                                        run_words=words, first=first, count=count),
                         (Event.LOADED, Space.SCRATCHPAD, words_of(spm, (count, words), (words, 1)), True))
        item.result = _result(out, row, 0)

    # Products. ``a`` is a View (row stride 1), ``acc`` an accumulator word, tiles counted as in the instructions.

    def _product(self, mnemonic, a, row, rows, a_panel, k_tiles, n_tiles, acc, accumulate, fields, stationary, *,
                 unsigned=False, rescale=False, state=0, stride=None, a_panels=None, k_offset=0):
        c = self.config
        if a_panels is None:
            a_panels = -(-(k_offset + k_tiles) // c.k_tiles_per_panel)
        accesses = [*((Event.WEIGHTS, Space.SCRATCHPAD, words, False) for words in stationary),
                    (Event.ROWS, Space.SCRATCHPAD, a.words(row, rows, a_panel, a_panels), False),
                    (Event.SUMS, Space.ACCUMULATORS, words_of(acc, (n_tiles, stride or rows), (rows, 1)), True)]
        if rescale:
            accesses.append((Event.SUMS, Space.STATE, words_of(state, (rows, 1)), False))
        self._add(mnemonic, dict(a_base=a.address(row, a_panel), a_panel_stride=a.panel_stride, a_unsigned=int(unsigned),
                                 rows=rows, k_tiles=k_tiles, n_tiles=n_tiles, k_offset=k_offset, acc_base=acc,
                                 acc_stride=stride or rows, accumulate=int(accumulate), rescale=int(rescale),
                                 state_base=state if rescale else 0, **fields), *accesses)

    def matmul(self, a, row, rows, a_panel, k_tiles, n_tiles, acc, weights, accumulate=False, unsigned=False, stride=None,
               a_panels=None, k_offset=0):
        """Rows of ``a`` times streamed ``weights``, a `Run`; N tiles are ``stride`` words apart from ``acc``
        on, by default ``rows``. ``a_panels``: panels of ``a``, if not those of so many dense tiles; ``k_offset``: K tiles of
        panel ``a_panel`` that are left out."""
        words = [words_of(first, (count, 1)) for first, count in weights.words]
        self._product("MATMUL", a, row, rows, a_panel, k_tiles, n_tiles, acc, accumulate,
                      dict(weights.fields, chunk_tiles=k_tiles * n_tiles), words, unsigned=unsigned, stride=stride,
                      a_panels=a_panels, k_offset=k_offset)

    def matmul_kt(self, q, row, rows, q_panel, k_tiles, n_tiles, acc, k, key, k_panel, keys, stride=None):
        """Scores of ``rows`` queries against ``keys`` keys of ``k`` from row ``key`` on; N tiles are ``stride`` accumulator words
        apart, by default ``rows``."""
        panels = -(-k_tiles // self.config.k_tiles_per_panel)
        self._product("MATMUL_KT", q, row, rows, q_panel, k_tiles, n_tiles, acc, False,
                      dict(w_base=k.address(key, k_panel), w_panel_stride=k.panel_stride, w_limit=keys),
                      [k.words(key, keys, k_panel, panels)], stride=stride)

    def matmul_v(self, p, row, rows, p_panel, k_tiles, n_tiles, acc, stride, v, key, v_panel, keys, accumulate, rescale,
                 state):
        """Context: probabilities ``p`` of ``rows`` rows from ``row`` on, from panel ``p_panel`` on, times ``keys`` values of
        ``v`` from row ``key`` on; N tiles are ``stride`` accumulator words apart from ``acc`` on; ``state``: state row of the
        first."""
        panels = -(-n_tiles // self.config.tiles_per_panel)
        self._product("MATMUL_V", p, row, rows, p_panel, k_tiles, n_tiles, acc, accumulate,
                      dict(w_base=v.address(key, v_panel), w_panel_stride=v.panel_stride, w_limit=keys),
                      [v.words(key, keys, v_panel, panels)], unsigned=True, rescale=rescale, state=state, stride=stride)

    def matmul_c(self, a, row, rows, a_panel, k_tiles, n_tiles, acc, view, w_row, w_panel, w_rows, block, *, column=None,
                 less_128=False, accumulate=False, unsigned=False, stride=None, k_offset=0):
        """Rows of ``a`` times circulant blocks: ``w_rows`` rows of ``view`` from ``w_row`` on, panels from ``w_panel`` on.
        ``column``: the column of blocks of a tile that a row is for, None where it takes rows for all of them; ``k_offset``:
        K tiles of panels ``a_panel`` and ``w_panel`` that are left out."""
        panels = -(-(k_offset + k_tiles) // self.config.k_tiles_per_panel)
        self._product("MATMUL_C", a, row, rows, a_panel, k_tiles, n_tiles, acc, accumulate,
                      dict(w_base=view.address(w_row, w_panel), w_panel_stride=view.panel_stride, block=block,
                           w_single=int(column is not None), w_column=column or 0, w_unsigned=int(less_128)),
                      [view.words(w_row, w_rows, w_panel, panels)], unsigned=unsigned, stride=stride, k_offset=k_offset)

    # Vector instructions. ``view``, row and panel say where; whole panels throughout.

    def requant(self, source, row, panel, out, out_row, out_panel, rows, panels, params, *, hold=False, residual=None,
                factor=None, res_row=0, res_panel=0, table_slot=None, row_scale=False, state=0, stride=None, row_stride=1):
        """Requantizes ``rows`` x ``panels``; ``source`` is a View or, for accumulators, the first word, with N tiles ``stride``
        words apart (by default ``rows``) and rows ``row_stride``.

        The second operand is added (``residual``) or multiplied with the source (``factor``), not both.
        """
        c = self.config
        tiles = panels * c.tiles_per_panel
        fields = dict(dst_type=out.element, dst_base=out.address(out_row, out_panel), dst_row_stride=out.row_stride,
                      dst_panel_stride=out.panel_stride, rows=rows, tiles=tiles, param_base=params,
                      param_hold=int(hold), row_scale=int(row_scale), state_base=state if row_scale else 0)
        param_words = words_of(params, (c.param_tile_words * (1 if hold else tiles), 1))
        accesses = [(Event.RESULT, Space.SCRATCHPAD, param_words, False),
                    (Event.RESULT, Space.SCRATCHPAD, out.words(out_row, rows, out_panel, panels), True)]
        if isinstance(source, int):
            stride = stride or rows
            fields.update(src_type=isa.Element.ACC, src_base=source, src_row_stride=row_stride, src_panel_stride=stride)
            accesses.append((Event.SOURCE, Space.ACCUMULATORS, words_of(source, (tiles, stride), (rows, row_stride)), False))
        else:
            fields.update(src_type=source.element, src_base=source.address(row, panel),
                          src_row_stride=source.row_stride, src_panel_stride=source.panel_stride)
            accesses.append((Event.SOURCE, Space.SCRATCHPAD, source.words(row, rows, panel, panels), False))
        second = residual if factor is None else factor
        if second is not None:
            fields.update(residual=int(factor is None), multiply=int(factor is not None), res_type=second.element,
                          res_base=second.address(res_row, res_panel), res_row_stride=second.row_stride,
                          res_panel_stride=second.panel_stride)
            accesses.append((Event.SOURCE, Space.SCRATCHPAD, second.words(res_row, rows, res_panel, panels), False))
        if table_slot is not None:
            # What is looked up is int8, with a signed zero point, whatever the entries mean.
            fields.update(table=1, slot=table_slot, dst_type=isa.Element.INT8)
        if row_scale:
            accesses.append((Event.RESULT, Space.STATE, words_of(state, (rows, 1)), False))
        self._add("REQUANT", fields, *accesses).result = _result(out, out_row, out_panel)

    def stats(self, x, row, rows, features, rms, eps, state):
        """Row statistics of all panels of ``x``."""
        self._add("STATS", dict(src_base=x.address(row, 0), src_row_stride=x.row_stride,
                                src_panel_stride=x.panel_stride, rows=rows,
                                tiles=x.panels * self.config.tiles_per_panel, features=features, rms=int(rms), eps=eps,
                                state_base=state),
                  (Event.SOURCE, Space.SCRATCHPAD, x.words(row, rows, 0, x.panels), False),
                  (Event.RESULT, Space.STATE, words_of(state, (rows, 1)), True))

    def norm(self, x, row, out, out_row, rows, panel, panels, features, params, state):
        """Normalizes ``panels`` from ``panel`` on; ``params`` are the records of the first of them."""
        c = self.config
        tiles = panels * c.tiles_per_panel
        item = self._add("NORM", dict(src_base=x.address(row, panel), src_row_stride=x.row_stride,
                               src_panel_stride=x.panel_stride, dst_type=out.element,
                               dst_base=out.address(out_row, panel), dst_row_stride=out.row_stride,
                               dst_panel_stride=out.panel_stride, rows=rows, tiles=tiles, features=features,
                               param_base=params, state_base=state),
                  (Event.SOURCE, Space.SCRATCHPAD, x.words(row, rows, panel, panels), False),
                  (Event.RESULT, Space.SCRATCHPAD, words_of(params, (tiles * c.param_tile_words, 1)), False),
                  (Event.RESULT, Space.STATE, words_of(state, (rows, 1)), False),
                  (Event.RESULT, Space.SCRATCHPAD, out.words(out_row, rows, panel, panels), True))
        item.result = _result(out, out_row, panel)

    def softmax(self, acc, rows, tiles, probabilities, params, state, *, key_start, key_limit, first, last,
                causal_start=None, query_register=0, mask=None):
        """One key block; ``mask`` is ``(first word of the block, row stride, row words read)`` or None; the scalar
        register ``query_register`` is added to ``causal_start``."""
        c = self.config
        fields = dict(acc_base=acc, acc_stride=rows, rows=rows, tiles=tiles, key_start=key_start, key_limit=key_limit,
                      dst_base=probabilities.address(0, 0), dst_panel_stride=probabilities.panel_stride,
                      param_base=params, first=int(first), last=int(last), state_base=state)
        panels = tiles // c.tiles_per_panel
        accesses = [(Event.SOURCE, Space.ACCUMULATORS, words_of(acc, (tiles * rows, 1)), False),
                    (Event.RESULT, Space.SCRATCHPAD, words_of(params, (2 * c.param_tile_words, 1)), False),
                    (Event.RESULT, Space.SCRATCHPAD, probabilities.words(0, rows, 0, panels), True),
                    (Event.RESULT, Space.STATE, words_of(state, (rows, 1)), True)]
        if causal_start is not None:
            fields.update(causal=1, query_start=causal_start, query_reg=query_register)
        if mask is not None:
            base, stride, count = mask
            fields.update(mask=1, mask_base=base, mask_row_stride=stride)
            accesses.append((Event.RESULT, Space.SCRATCHPAD,
                             words_of(base, (rows if stride else 1, stride), (count, 1)), False))
        self._add("SOFTMAX", fields, *accesses)

    def table(self, spm, slot):
        """Loads a table from scratchpad word ``spm``."""
        self._add("TABLE", dict(src_base=spm, slot=slot),
                  (Event.SOURCE, Space.SCRATCHPAD, words_of(spm, (-(-256 // self.config.word_bytes), 1)), False))
