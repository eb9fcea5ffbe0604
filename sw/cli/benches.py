"""The command `weft bench`."""

import click

from weft.cli.options import as_json, config_option, load_config

__all__ = ["bench"]

json_option = click.option("--json", "json_output", is_flag=True, help="Print one JSON object.")
size = click.IntRange(min=1)


@click.group()
def bench():
    """Measure cycles on the RTL with the reference memory, every byte compared with the golden model."""


@bench.command()
@click.option("--m", required=True, type=size, help="Rows of the streamed operand.")
@click.option("--k", required=True, type=size, help="Length of the dot products.")
@click.option("--n", required=True, type=size, help="Output channels.")
@config_option
@json_option
def gemm(m, k, n, config_name, json_output):
    """One matrix product [m, k] x [k, n] with random int8 operands."""
    from weft.bench import bench_gemm

    _show(bench_gemm(m, k, n, load_config(config_name)), json_output)


@bench.command()
@click.option("--heads", required=True, type=size)
@click.option("--seq", required=True, type=size, help="Queries and keys.")
@click.option("--dim", required=True, type=size, help="Features of a head.")
@config_option
@json_option
def attention(heads, seq, dim, config_name, json_output):
    """Attention of several heads over random queries, keys and values."""
    from weft.bench import bench_attention

    _show(bench_attention(heads, seq, dim, load_config(config_name)), json_output)


@bench.command()
@click.argument("name", metavar="minilm|DIR")
@click.option("--seq", required=True, type=size, help="Tokens.")
@config_option
@json_option
def model(name, seq, config_name, json_output):
    """A whole text model: "minilm" (all-MiniLM-L6-v2) or a local Hugging Face folder."""
    from weft.bench import bench_model

    _show(bench_model(name, seq, load_config(config_name)), json_output)


def _show(figures, json_output):
    if json_output:
        click.echo(as_json(figures))
        return
    width = max(map(len, figures))
    for name, value in figures.items():
        shown = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else value
        click.echo(f"{name:<{width}}  {shown}")
