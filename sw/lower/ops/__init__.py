"""Lowering of each operation of the quantized graph: one module a kind, one function an operation."""

from weft import qgraph

from .attention import lower_attention
from .cached_attention import lower_cached_attention
from .elementwise import lower_add, lower_requant
from .embed import lower_embed
from .linear import lower_linear
from .norm import lower_norm
from .positions import lower_positions
from .rows import lower_concat, lower_select_rows

__all__ = ["LOWER"]

#: Function that lowers each kind of operation: ``f(context, op)``.
LOWER = {
    qgraph.Linear: lower_linear,
    qgraph.Norm: lower_norm,
    qgraph.Attention: lower_attention,
    qgraph.CachedAttention: lower_cached_attention,
    qgraph.Positions: lower_positions,
    qgraph.Embed: lower_embed,
    qgraph.Add: lower_add,
    qgraph.Requant: lower_requant,
    qgraph.SelectRows: lower_select_rows,
    qgraph.Concat: lower_concat,
}
