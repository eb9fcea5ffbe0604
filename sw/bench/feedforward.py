"""Bench of a feed-forward block as a compiled model, some of its neurons pruned away."""

from weft.bench.figures import no_words, program_figures

__all__ = ["bench_ffn"]


def bench_ffn(seq, width, inner, config, pruned=0.0, tell=no_words):
    """`down(gelu(up(x)))` on [seq, width] with `inner` neurons and random weights; the figures as a dict.

    The weights of a share `pruned` of the neurons are zero, wherever they lie: the compiler leaves those neurons out.
    """
    import torch

    import weft

    generator = torch.Generator().manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(width, inner), torch.nn.GELU(), torch.nn.Linear(inner, width)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / parameter.shape[-1] ** 0.5)
        model[0].weight[torch.randperm(inner, generator=generator)[:round(pruned * inner)]] = 0
    x = torch.randn(seq, width, generator=generator)
    program = weft.compile(model, (x,), config=config, progress=tell)
    return {"workload": "ffn", "seq": seq, "width": width, "inner": inner, "pruned": pruned,
            **program_figures(program, (x.numpy(),), {}, tell)}
