"""`weft.compile` and `weft.load`."""

from weft.hw.config import Config
from weft.hw.errors import CompileError

__all__ = ["compile", "load"]


def compile(model, args=(), kwargs=None, *, config, calibration=None, quantization=None, progress=None):
    """Compiles a PyTorch model for an accelerator.

    Parameters
    ----------
    model: `torch.nn.Module`; exported in ``eval()`` mode without gradients, and left as it was.
    args, kwargs: what `torch.export.export` takes; their shapes are the program's.
    config: `weft.Config`, the name of one, or the path of a configuration file.
    calibration: iterable of ``(args, kwargs)`` from which every scale is chosen; by default the arguments themselves.
    quantization: `weft.quantize.QuantOptions`.
    progress: called with a line of text before each stage.

    Returns a `weft.Program`. Raises CompileError for what is not supported, naming operator and module.
    """
    from weft.frontend import import_model
    from weft.lower import lower
    from weft.program import Program
    from weft.quantize import quantize

    config = Config.load(config)
    report = progress or (lambda text: None)
    report("exporting the model")
    graph = import_model(model, args, kwargs)
    batches = [(args, kwargs)] if calibration is None else list(calibration)
    if not batches:
        raise CompileError("calibration holds no batch; at least one (args, kwargs) is needed")
    report(f"calibrating on {len(batches)} batches")
    quantized = quantize(graph, batches, quantization, key_block=config.key_block, wide_block=config.panel)
    report("scheduling")
    return Program.from_lowered(lower(quantized, config), quantized.host, quantized.macs)


def load(path, config=None):
    """Reads a program file.

    ``config``: the configuration it should be for, if given. Raises ProgramError for a file that is missing, truncated,
    altered, or made for another configuration.
    """
    from weft.program import Program

    return Program.load(path, None if config is None else Config.load(config))
