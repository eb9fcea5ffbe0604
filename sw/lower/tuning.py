"""What a lowering may choose without changing a result: sizes of pieces, found by trying them on the performance model."""

from dataclasses import dataclass, replace

from weft.hw import isa
from weft.performance import predict_instructions

__all__ = ["Tuning", "best", "predicted_cycles"]

#: Instructions that all trials together may have: compile time, mostly.
_TRIAL_INSTRUCTIONS = 40_000


@dataclass(frozen=True)
class Tuning:
    """``first_panels``: K panels in the first pieces of a layer, whose product starts when they are there;
    ``product_cycles``: tensor cycles that one product should take at least, so that the vector engine's start-up hides;
    ``products``: products that a layer is cut into at least where that keeps them longer, as the last one's results come
    late; ``strips``: strips of rows in which a norm, and the products around it, take their rows; ``edge_rows``: rows of the
    products with which a layer begins that reads what the host wrote, 0 for all; ``end_rows``: rows of the last product of one
    that writes what the host reads, 0 for all; ``edges``: such layers have strips as well; ``query_rows``: most queries of a
    strip of attention (but twice the array's rows and columns at least), 0 for as many as fit, or what seems best for a causal
    one; ``skip_zeros``: weight tiles of zeros are left out."""
    first_panels: int = 4
    product_cycles: int = 512
    products: int = 64
    strips: int = 2
    edge_rows: int = 0
    end_rows: int = 0
    edges: bool = False
    query_rows: int = 0
    skip_zeros: bool = True


#: Small pieces throughout.
_FINE = Tuning(first_panels=1, product_cycles=128, edge_rows=16, end_rows=16)
#: What to try, one field after the other.
_ALTERNATIVES = {"first_panels": (1, 2, 4), "product_cycles": (128, 256, 512), "products": (32, 128), "strips": (3, 4),
                 "edge_rows": (0, 8, 16, 32), "end_rows": (0, 8), "edges": (True,), "query_rows": (32, 64, 128),
                 "skip_zeros": (False,)}


def predicted_cycles(config, items, registers=None):
    """Cycles of a program of `weft.lower.builder.Item`."""
    none = {name: dict.fromkeys(instruction.fields, 0) for name, instruction in isa.INSTRUCTIONS.items()}
    return predict_instructions(config, [(item.mnemonic, none[item.mnemonic] | item.fields) for item in items],
                                registers).cycles


def best(attempt):
    """The least of what ``attempt(tuning) -> (cycles, instructions, result)`` makes, by cycles, then instructions; ``result``.

    Begins with fine or coarse pieces and keeps every single change that is better, as long as all trials together have no
    more than `_TRIAL_INSTRUCTIONS`.
    """
    tuning = _FINE
    *least, result = attempt(tuning)
    spent = instructions = least[1]
    for field in [None, *_ALTERNATIVES]:
        for value in _ALTERNATIVES.get(field, (None,)):
            trial = Tuning() if field is None else replace(tuning, **{field: value})
            if trial == tuning:
                continue
            if field is not None and spent + instructions > _TRIAL_INSTRUCTIONS:
                return result
            cycles, instructions, other = attempt(trial)
            spent += instructions
            if [cycles, instructions] < least:
                tuning, least, result = trial, [cycles, instructions], other
    return result
