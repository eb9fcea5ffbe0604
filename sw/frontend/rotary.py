"""Recognise rotary embedding: each feature times a constant plus another feature times a constant.

Slices, concatenations, negations, products with tables of positions and sums of them are followed symbolically (`Mix`)
until something needs the result, so every spelling that computes the same is the same: pairs of halves or of neighbours,
the rotated copy built by concatenation or by stacking, both results computed apart.
"""

import torch

from weft.frontend import graph as fg
from weft.frontend.elementwise import scalar
from weft.frontend.views import Act, Const, Expr, Mix, is_identity, split_index

__all__ = ["JOINS", "combine", "map_terms", "materialize"]

JOINS = {"cat", "concat", "concatenate", "stack"}
"""Names of the operators that put tensors together."""


def _as_mix(builder, value):
    """An activation or combination as `Mix`."""
    if isinstance(value, Mix):
        return value
    if "product" in value.cache:
        act, const = value.cache["product"]
        return _times(_as_mix(builder, act), const.tensor)
    if value.expr is not None and (value.expr.affine is None or value.expr.affine[1] != 0.0):
        value = builder.plain(value)
    factor = 1.0 if value.expr is None else value.expr.affine[0]
    return Mix(value.base, value.shape, [(value.map, torch.full(value.shape, float(factor)))])


def _times(mix, factor):
    return Mix(mix.base, mix.shape, [(index, c * factor) for index, c in mix.terms])


def _reduced(mix):
    """The activation it is where it only rearranges elements (and multiplies all by one number)."""
    (index, coefficients), *more = mix.terms
    factor = float(coefficients.reshape(-1)[0])
    if more or bool((index < 0).any()) or not bool((coefficients == factor).all()):
        return mix
    expr = None if factor == 1.0 else Expr(lambda x: x * factor, "mul", (factor, 0.0))
    return Act(mix.base, mix.shape, index, expr)


def map_terms(mix, function):
    """The value of a view of ``mix``; ``function`` runs the view on a tensor and may return several."""
    pairs = [(function(index), function(coefficients)) for index, coefficients in mix.terms]

    def rebuild(pairs):
        if isinstance(pairs[0][0], (list, tuple)):
            return type(pairs[0][0])(rebuild([(i[n], c[n]) for i, c in pairs]) for n in range(len(pairs[0][0])))
        return Mix(mix.base, tuple(pairs[0][0].shape), [(i.contiguous(), c.contiguous()) for i, c in pairs])

    return rebuild(pairs)


def _join(builder, node, parts, *args, **kwargs):
    if len({p.base for p in parts}) != 1 or any(isinstance(p, Act) and p.centered for p in parts):
        return None
    parts = [_as_mix(builder, p) for p in parts]
    if len({p.base for p in parts}) != 1:
        return None
    depth = max(len(p.terms) for p in parts)
    terms = []
    for number in range(depth):
        slot = [p.terms[number] if number < len(p.terms) else (torch.full(p.shape, -1), torch.zeros(p.shape))
                for p in parts]
        terms.append(tuple(node.target([entry[i] for entry in slot], *args, **kwargs) for i in (0, 1)))
    return _reduced(Mix(parts[0].base, tuple(terms[0][0].shape), terms))


def _added(builder, node, a, b, alpha):
    if not all(isinstance(v, Mix) or isinstance(v, Act) and not v.centered for v in (a, b)) \
            or not any(isinstance(v, Mix) or "product" in v.cache for v in (a, b)):
        return None
    a, b = _as_mix(builder, a), _times(_as_mix(builder, b), alpha)
    if a.base != b.base or a.shape != b.shape:
        return None
    terms = list(a.terms)
    for index, coefficients in b.terms:
        same = next((n for n, (i, _) in enumerate(terms) if torch.equal(i, index)), None)
        if same is None:
            terms.append((index, coefficients))
        else:
            terms[same] = (index, terms[same][1] + coefficients)
    return _reduced(Mix(a.base, a.shape, terms))


def _multiplied(builder, node, a, b, divide):
    value, const = (a, b) if isinstance(a, (Act, Mix)) else (b, a)
    if not isinstance(value, (Act, Mix)) or divide and value is b:
        return None
    number = scalar(const)
    if number is None and not isinstance(const, Const):
        return None
    shape = tuple(node.meta["val"].shape)
    if isinstance(value, Act):
        if number is not None or value.centered or value.shape != shape:
            return None
        # One constant a feature is a step of its own, unless rows are cut into heads (a table of one position).
        if const.tensor.numel() == const.shape[-1] and (value.index is None or split_index(
                value.index.reshape(-1, shape[-1]), builder.tensor(value.base).features) is not None):
            return None
    factor = torch.tensor(number) if number is not None else builder.weight(const, "constant")
    return _times(map_terms(_as_mix(builder, value), lambda t: t.expand(shape)), 1.0 / factor if divide else factor)


def combine(builder, node, name, args, kwargs):
    """The value of an operator that rearranges, scales or adds elements of one tensor, or None where it is none."""
    if name in JOINS and args and isinstance(args[0], (list, tuple)) \
            and all(isinstance(p, (Act, Mix)) for p in args[0]):
        return _join(builder, node, *args, **kwargs)
    if name == "neg" and isinstance(args[0], Mix):
        return _times(args[0], -1.0)
    if name in ("add", "sub") and len(args) == 2:
        alpha = kwargs.get("alpha", 1)
        return _added(builder, node, *args, alpha if name == "add" else -alpha)
    if name in ("mul", "div") and len(args) == 2 and not kwargs:
        return _multiplied(builder, node, *args, name == "div")
    return None


def materialize(builder, mix):
    """``mix`` as an activation: one rotary embedding, or a product with constants.

    Raises `CompileError` where it combines features in any other way.
    """
    if "act" not in mix.cache:
        mix.cache["act"] = _product(builder, mix) if len(mix.terms) == 1 else _rotary(builder, mix)
    return mix.cache["act"]


def _product(builder, mix):
    (index, coefficients), = mix.terms
    features = mix.shape[-1]
    act = Act(mix.base, mix.shape, None if is_identity(index, builder.tensor(mix.base).rows * builder.tensor(
        mix.base).features) else index)
    values = coefficients.expand(mix.shape).reshape(-1, features).contiguous()
    name = builder.matrix(act)
    rows = builder.tensor(name).rows
    if bool((values == values[:1]).all()):
        out = builder.emit(fg.FAffine, rows, features, x=name, scale=values[0], shift=torch.zeros(features))
    else:
        table = builder.emit(fg.FConst, rows, features, values=values)
        out = builder.emit(fg.FMultiply, rows, features, a=name, b=table)
    return Act(out, mix.shape)


def _pairs(builder, pattern):
    """How the features of a head pair up: ``pattern`` int64[2, d], the (local) columns each result sums, -1 for none.

    Returns ``(columns[d], position[d])``: the columns in the order first members of all pairs, second members; and each
    result's place in that order.
    """
    results, single = {}, []
    for j, pair in enumerate(zip(*pattern.tolist())):
        if -1 in pair:
            single.append((max(pair), j))
        else:
            results.setdefault(tuple(sorted(pair)), []).append(j)
    first = [(min(pair), js[0]) for pair, js in results.items()] + single[::2]
    second = [(max(pair), js[-1]) for pair, js in results.items()] + single[1::2]
    order = first + second
    columns, places = ({pair[i] for pair in order} for i in (0, 1))
    if not len(order) == len(columns) == len(places) == pattern.shape[1]:
        raise builder.error("sums of features times constants are supported where they rotate pairs of features "
                            "(rotary embedding), which these do not")
    position = torch.empty(len(order), dtype=torch.int64)
    position[torch.tensor([j for _, j in order])] = torch.arange(len(order))
    return torch.tensor([c for c, _ in order]), position


def _rotary(builder, mix):
    refusal = "sums of features times constants are supported as rotary embedding of heads only"
    if len(mix.terms) != 2 or len(mix.shape) < 2:
        raise builder.error(refusal)
    base, d = builder.tensor(mix.base), mix.shape[-1]
    places = mix.terms[0][0]
    if bool((places // base.features != places[..., :1] // base.features).any()):
        # Keys transposed already: their features lie along the other axis.
        if bool((places // base.features != places[..., :1, :] // base.features).any()):
            raise builder.error(refusal)
        act = _rotary(builder, map_terms(mix, lambda t: t.transpose(-1, -2)))
        return Act(act.base, mix.shape, act.index.transpose(-1, -2))
    index, coefficients = (torch.stack([term[i].expand(mix.shape).reshape(-1, d) for term in mix.terms]) for i in (0, 1))
    rows = index.amax((0, 2)) // base.features
    columns = torch.where(index < 0, -1, index % base.features)             # [2, groups, d]
    if not bool(((index < 0) | (index // base.features == rows[:, None])).all()):
        raise builder.error(refusal)

    patterns, head = torch.unique(columns.transpose(0, 1).reshape(len(rows), -1), dim=0, return_inverse=True)
    used = [torch.unique(p[p >= 0]) for p in patterns]
    local = [torch.where(p < 0, -1, torch.searchsorted(u, p)).reshape(2, d) for p, u in zip(patterns, used)]
    if any(len(u) != d for u in used) or any(not torch.equal(p, local[0]) for p in local):
        raise builder.error(refusal)
    order, position = _pairs(builder, local[0])
    x = builder.columns(mix.base, torch.cat([u[order] for u in used]))

    own = order[position]                                                   # local column that result j keeps
    mine = local[0] == own                                                  # [2, d]: the term that keeps it
    cos, sin = torch.zeros(base.rows, d), torch.zeros(base.rows, d)
    kept = (coefficients * mine[:, None]).sum(0)
    turned = (coefficients * ~mine[:, None]).sum(0)
    cos[rows[:, None], position] = kept
    sin[rows[:, None], position] = turned
    if not torch.equal(cos[rows[:, None], position], kept) or not torch.equal(sin[rows[:, None], position], turned):
        raise builder.error("rotary embedding whose tables differ between heads is not supported")
    features = len(used) * d
    out = builder.emit(fg.FRotary, base.rows, features, x=x, cos=cos, sin=sin, head_dim=d)
    result = rows[:, None] * features + head[:, None] * d + position
    return Act(out, mix.shape, result.reshape(mix.shape))
