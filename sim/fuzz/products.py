"""Instructions of the tensor engine in random programs."""

import numpy as np

from weft.hw.isa import SPARSE_PANELS, Element

from .contents import four_bit_weights, sparse_weights, weight_tiles
from .program import Address, Node
from .transfers import Transfers

__all__ = ["Products"]

#: Semaphores of the weight ring; `program` keeps clear of them.
RING_FULL, RING_FREE = 1, 2


class Products(Transfers):
    """Matrix products with weights, contiguous or through a ring."""

    def _product_fields(self, a, rows, k_tiles, n_tiles, results, accumulate):
        return dict(a_base=a.base, a_panel_stride=a.panel_stride, a_unsigned=int(a.kind == Element.UINT8), rows=rows,
                    k_tiles=k_tiles, n_tiles=n_tiles, k_outer=self.chance(0.4), acc_base=results.base,
                    acc_stride=results.stride, accumulate=accumulate)

    def _k_tiles(self, panels):
        """K tiles of an operand with so many panels, ``(k_offset, k_tiles, panels)`` of the product."""
        per = self.config.k_tiles_per_panel
        offset = int(self.rng.integers(per)) if self.chance(0.5) else 0
        tiles = int(self.rng.integers(1, panels * per - offset + 1))
        return offset, tiles, -(-(offset + tiles) // per)

    def _moving(self, panels=None):
        """An 8-bit operand with rows one word apart."""
        return self.operand((Element.INT8, Element.UINT8), panels=panels, unit_rows=True)

    def _results(self, tiles, rows, avoid=None):
        """Accumulator words, and whether to add to what they hold."""
        same = [r for r in self.results if r.tiles == tiles and r.rows == rows and r.depth < 6
                and (avoid is None or not np.isin(r.words, avoid.words).any())]
        if same and self.chance(0.5):
            results = self.pick(same)
            accumulate = self.chance(0.6)
            results.depth = results.depth + 1 if accumulate else 0
            return results, accumulate
        return self.new_results(tiles, rows, avoid), 0

    def _four_bit(self, k_tiles, n_tiles):
        """Values and scales of 4-bit weights, uint8[words, word_bytes], and their fields but for ``s_base``; or None."""
        c = self.config
        if not c.four_bit or self.chance(0.5):
            return None
        group = 0 if self.chance(0.35) else self.pick((1, 2, 3, k_tiles, 63))
        rows = -(-k_tiles // group) if group else 2 * k_tiles
        scale_words = n_tiles * -(-rows // c.scale_rows_per_word)
        return (*four_bit_weights(c, self.rng, k_tiles * n_tiles, scale_words), dict(w_format=1, w_group=group, k_outer=0))

    def _sparse(self, k_panels):
        """Fields of sparse weights for so many panels, ``(k_tiles, fields)``; or None."""
        c = self.config
        if not c.sparsity or self.chance(0.5):
            return None
        number = self.pick([number for number in c.weight_formats if number in SPARSE_PANELS])
        covered = SPARSE_PANELS[number]
        k_tiles = -(-k_panels // covered)
        return k_tiles, dict(w_format=int(number), k_missing=k_tiles * covered - k_panels)

    def _weights(self, k_tiles, n_tiles, keep):
        """Weights of some format in new words, and the fields that say which, if they are not int8."""
        drawn = self._four_bit(k_tiles, n_tiles)
        if drawn is None:
            return self.new_weights(k_tiles, n_tiles, keep), {}
        values, scales, formats = drawn
        weights = self.load_constant(np.concatenate([values, scales]), keep)
        return weights, formats | {"s_base": weights.base + len(values)}

    def draw_product(self):
        c = self.config
        a = self._moving()
        k_offset, k_tiles, k_panels = self._k_tiles(a.panels)
        n_tiles = int(self.rng.integers(1, 3)) * c.tiles_per_panel
        rows = a.rows if self.chance(0.7) else int(self.rng.integers(1, a.rows + 1))
        known = [r for r in self.results if r.rows <= a.rows]
        if known and self.chance(0.4):
            same = self.pick(known)
            rows, n_tiles = same.rows, same.tiles
        if sparse := self._sparse(k_panels):
            k_tiles, formats = sparse
            weights = self.load_constant(sparse_weights(c, self.rng, k_tiles * n_tiles), [a])
        else:
            weights, formats = self._weights(k_tiles, n_tiles, keep=[a])
        results, accumulate = self._results(n_tiles, rows)
        fields = self._product_fields(a, rows, k_tiles, n_tiles, results, accumulate)
        tiles = k_tiles * n_tiles
        chunk = int(self.rng.choice([d for d in range(-(-tiles // 12), tiles + 1)] + [tiles + 3]))
        fields.update(k_offset=k_offset, w_base=weights.base, chunk_tiles=chunk, **formats)
        node = Node("MATMUL", fields, [
            self.read(weights.words, "weights", "w"), self.read(a.words_of(rows, k_panels), "moving", "a")],
            parts={"w_wait": -(-tiles // chunk), "w_signal": -(-tiles // chunk), "a_wait": k_panels})
        self._align_moving(node, a, k_panels)
        self._rescale(node, rows)
        if not formats and chunk == tiles // weights.loads and tiles % weights.loads == 0 and weights.node is not None:
            node.aligned.add((weights.node, "load", "w"))
        self._add_product(node, results)
        if formats and self.chance(0.5):
            self.show(results)

    def circulant(self):
        """A product with circulant blocks of some rows; its `Results`."""
        c = self.config
        a = self._moving()
        rows = a.rows if self.chance(0.7) else int(self.rng.integers(1, a.rows + 1))
        n_tiles = int(self.rng.integers(1, 3)) * c.tiles_per_panel
        known = [r for r in self.results if r.rows <= a.rows]
        if known and self.chance(0.4):
            same = self.pick(known)
            rows, n_tiles = same.rows, same.tiles
        block, single = self.pick(c.circulant), self.chance(0.5)
        w = self.operand((Element.INT8, Element.UINT8), rows=n_tiles * (1 if single else c.cols // block), unit_rows=True, keep=[a])
        k_offset, k_tiles, k_panels = self._k_tiles(min(a.panels, w.panels))
        results, accumulate = self._results(n_tiles, rows)
        fields = self._product_fields(a, rows, k_tiles, n_tiles, results, accumulate)
        fields.update(k_offset=k_offset, w_base=w.base, w_panel_stride=w.panel_stride, block=block, w_single=single,
                      w_column=int(self.rng.integers(c.cols // block + 1)), w_unsigned=int(w.kind == Element.UINT8))
        node = Node("MATMUL_C", fields, [
            self.read(w.words_of(n_tiles * (1 if single else c.cols // block), k_panels), "weights", "w"),
            self.read(a.words_of(rows, k_panels), "moving", "a")], {"a_wait": k_panels})
        self._align_moving(node, a, k_panels)
        self._rescale(node, rows)
        self._add_product(node, results)
        return results

    def _add_product(self, node, results):
        """Adds a product; tokens for each N tile where it and those before and after it agree."""
        node.accesses.append(self.access("accumulators", results.words, True, "results", "acc"))
        node.parts.update(acc_signal=results.tiles, acc_wait=results.tiles)
        if results.reader is not None:
            node.aligned.add((results.reader, "source", "acc"))
        results.writer, results.reader = node, None
        self.add(node)

    def _align_moving(self, node, a, panels):
        """Tokens for each K panel where the producer sends one for each panel."""
        if a.panels == panels:
            self.align(node, a, "a")

    def _rescale(self, node, rows):
        """Shifts what a product adds to by the state that some softmax has left."""
        divided = [first for first, number in self.divided if number >= rows]
        if node.fields["accumulate"] and divided and self.chance(0.7):
            first = self.pick(divided)
            node.fields.update(rescale=1, state_base=first)
            node.accesses.append(self.access("state", first + np.arange(rows), False, "moving", "a"))

    def draw_stream(self):
        """Weights through a ring that the load engine fills while the array empties it."""
        c = self.config
        a = self._moving()
        k_offset, k_tiles, k_panels = self._k_tiles(a.panels)
        n_tiles = int(self.rng.integers(1, 4)) * c.tiles_per_panel
        drawn, tile_words, formats, keep = None, c.weight_tile_words, {}, [a]
        if sparse := self._sparse(k_panels):
            (k_tiles, formats), tile_words = sparse, c.sparse_tile_words
        elif drawn := self._four_bit(k_tiles, n_tiles):
            tile_words, formats = c.four_bit_tile_words, drawn[2]
        tiles = k_tiles * n_tiles
        chunk = self.pick([d for d in (1, 2, 3, 4, 6, 8, k_tiles) if tiles % d == 0])
        # A chunk is one run, so it is a whole number of DMA granules.
        size = chunk * tile_words
        if size % c.dma_words:
            return
        if drawn is not None:
            scales = self.load_constant(drawn[1], keep)
            formats["s_base"] = scales.base
            keep.append(scales)
        slots = min(int(self.rng.integers(1, 5)), 63)
        ring = self.allocate(slots * size, keep=keep)
        results, accumulate = self._results(n_tiles, a.rows)
        if sparse:
            data = sparse_weights(c, self.rng, tiles)
        else:
            data = weight_tiles(c, self.rng, tiles) if drawn is None else drawn[0]
        buffer = self.constant(data) if self.chance(0.8) else self.new_input(data)
        start = int(self.rng.integers(slots))
        written = self.access("scratchpad", ring, True, "load", "dma")
        # The ring belongs to both from here on; the load engine gets its slots from the tensor engine.
        self.add(Node("BARRIER", {}, control=[("BARRIER", {})]))
        self.add(Node("TENSOR_SYNC", {}, [self.read(ring, "moving", "a")],
                      control=[("TENSOR_SYNC", dict(signal=RING_FREE, signal_count=slots))]))
        self.add(Node("LOAD", dict(
            dram_addr=Address(buffer), spm_addr=int(ring[0]), run_words=size, inner_count=1, outer_count=tiles // chunk,
            outer_dram_stride=size * c.word_bytes, outer_spm_stride=size, ring_slots=slots, ring_start=start,
            wait=RING_FREE, wait_each=1, signal=RING_FULL, signal_each=1), [written]))
        fields = self._product_fields(a, a.rows, k_tiles, n_tiles, results, accumulate)
        fields.update(k_offset=k_offset, w_base=int(ring[0]), chunk_tiles=chunk, ring_slots=slots, ring_start=start,
                      w_wait=RING_FULL, w_signal=RING_FREE, **formats)
        node = Node("MATMUL", fields, [self.read(a.words_of(a.rows, k_panels), "moving", "a")], {"a_wait": k_panels})
        self._align_moving(node, a, k_panels)
        if drawn is not None:
            # The ring has the loader's tokens; the scales are read before the last row streams.
            node.accesses.append(self.read(scales.words, "moving", "a"))
        self._add_product(node, results)
        self.add(Node("LOAD_SYNC", {}, [written], control=[("LOAD_SYNC", dict(wait=RING_FREE, wait_count=slots))]))
