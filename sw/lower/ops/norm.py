"""LayerNorm and RMSNorm: statistics of whole rows, then panels of normalized results."""

from ..split import blocks, split

__all__ = ["lower_norm"]

#: Panels in one NORM: whoever reads the first ones need not wait for the last.
_PANELS = 4


def lower_norm(ctx, op):
    """Statistics once, then each output; 8-bit ones first, as the next layer waits for them."""
    x = ctx.tensors[op.x]
    outputs = [(ctx.tensors[op.out], op.rescale)]
    if op.out2 is not None:
        outputs.append((ctx.tensors[op.out2], op.rescale2))
    outputs.sort(key=lambda pair: pair[0].line)
    c, b = ctx.config, ctx.builder
    per_panel = c.param_tile_words * c.tiles_per_panel
    held = x.panels * len(outputs) * per_panel <= ctx.param_ring.words // 2
    size = min(max(_PANELS, -(-x.panels // 16)), max(1, ctx.param_ring.words // 3 // per_panel))
    limit = max(ctx.granule, ctx.config.state_rows // 2)
    params = {}

    def records(out, rescale, p0, p1):
        if not held:
            return ctx.params(ctx.rescale_records(rescale, x.channels, p0, p1), ("norm", out.name, p0, p1))
        if out.name not in params:
            params[out.name] = ctx.params(ctx.rescale_records(rescale, x.channels, 0, x.panels), ("norm", out.name))
        return params[out.name] + p0 * per_panel

    for r0, r1, _, _ in blocks(ctx, [x, *(t for t, _ in outputs)], x.stored_rows, x.panels, limit, whole_panels=True):
        source = ctx.read(x, r0, r1)
        views = [ctx.open(out, r0, r1) for out, _ in outputs]
        state = ctx.states.alloc(r1 - r0, align=1)
        b.stats(source, r0, r1 - r0, x.channels.features, op.kind == "rms", op.eps, state)
        for (out, rescale), view in zip(outputs, views):
            for p0, p1 in split(x.panels, size):
                b.norm(source, r0, view, r0, r1 - r0, p0, p1 - p0, x.channels.features,
                       records(out, rescale, p0, p1), state)
                if not out.row_major:
                    ctx.commit(out, view, r0, r1, p0, p1)
            if out.row_major:
                ctx.commit(out, view, r0, r1, 0, x.panels)
        ctx.states.free(state)
        for view in (source, *views):
            ctx.release(view)
