"""LayerNorm and RMSNorm: statistics of whole rows, then panels of normalized results."""

from ..layout import ceil_div, round_up
from ..split import blocks, split

__all__ = ["lower_norm"]

#: Panels in one NORM at least, and vector operations: whoever reads the first panels need not wait for the last.
_PANELS, _OPERATIONS = 4, 96
#: Rows from which on strips are worth their start-up: the array works on one while the other is normalized.
_STRIPS_FROM = 16


def lower_norm(ctx, op):
    """Statistics once, then each output; 8-bit ones first, as the next layer waits for them."""
    x = ctx.tensors[op.x]
    outputs = [(ctx.tensors[op.out], op.rescale)]
    if op.out2 is not None:
        outputs.append((ctx.tensors[op.out2], op.rescale2))
    outputs.sort(key=lambda pair: pair[0].line)
    rows, most = x.stored_rows, max(ctx.granule, ctx.config.state_rows // 2)
    if rows <= most:
        # The second output of all rows after the first one: the next layer reads the first, and its start hides the second.
        states = ctx.states.alloc(rows, align=1)
        for number, output in enumerate(outputs):
            _normalize(ctx, op, x, [output], rows, states, statistics=number == 0)
        ctx.states.free(states)
    else:
        _normalize(ctx, op, x, outputs, most, None, statistics=True)


def _normalize(ctx, op, x, outputs, limit, states, statistics):
    """Computes ``outputs``, at most ``limit`` rows at a time; ``states``: state row of row 0, or None to allocate some for
    each strip; ``statistics``: they are not there yet."""
    c, b = ctx.config, ctx.builder
    rows = x.stored_rows
    if rows >= _STRIPS_FROM:
        limit = min(limit, round_up(ceil_div(rows, ctx.tuning.strips), ctx.granule))
    per_panel = c.param_tile_words * c.tiles_per_panel
    held = x.panels * len(outputs) * per_panel <= ctx.param_ring.words // 2
    params = {}

    def records(out, rescale, p0, p1):
        if not held:
            return ctx.params(ctx.rescale_records(rescale, x.channels, p0, p1), ("norm", out.name, p0, p1))
        if out.name not in params:
            params[out.name] = ctx.params(ctx.rescale_records(rescale, x.channels, 0, x.panels), ("norm", out.name))
        return params[out.name] + p0 * per_panel

    for r0, r1, _, _ in blocks(ctx, [x, *(t for t, _ in outputs)], rows, x.panels, limit, whole_panels=True):
        items = (r1 - r0) * c.tiles_per_panel * c.groups_per_tile
        size = min(max(_PANELS, ceil_div(x.panels, 16), ceil_div(_OPERATIONS, items)),
                   max(1, ctx.param_ring.words // 3 // per_panel))
        source = ctx.read(x, r0, r1)
        views = [ctx.open(out, r0, r1) for out, _ in outputs]
        state = ctx.states.alloc(r1 - r0, align=1) if states is None else states + r0
        if statistics:
            b.stats(source, r0, r1 - r0, x.channels.features, op.kind == "rms", op.eps, state)
        for (out, rescale), view in zip(outputs, views):
            for p0, p1 in split(x.panels, size):
                b.norm(source, r0, view, r0, r1 - r0, p0, p1 - p0, x.channels.features,
                       records(out, rescale, p0, p1), state)
                if not out.row_major:
                    ctx.commit(out, view, r0, r1, p0, p1)
            if out.row_major:
                ctx.commit(out, view, r0, r1, 0, x.panels)
        if states is None:
            ctx.states.free(state)
        for view in (source, *views):
            ctx.release(view)
