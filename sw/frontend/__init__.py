"""Front end: an ordinary PyTorch model becomes a small float graph of what it computes."""

from weft.frontend.export import export_model
from weft.frontend.fuse import fuse
from weft.frontend.graph import FLinear, FloatGraph
from weft.frontend.translate import is_known, translate
from weft.frontend.unused import remove_unused

__all__ = ["FloatGraph", "import_model"]


def import_model(model, args=(), kwargs=None):
    """The `FloatGraph` of ``model`` for arguments of these shapes.

    ``model`` is any ``torch.nn.Module`` that ``torch.export`` takes; it is exported in eval mode without gradients
    and left as it was. Raises `CompileError` naming operator and module where something is not supported.
    """
    graph = remove_unused(fuse(translate(export_model(model, args, kwargs, is_known))))
    for op in graph.ops:
        if isinstance(op, FLinear):
            op.find_blocks()
    return graph
