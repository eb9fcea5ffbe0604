"""The command `weft bench`."""

from pathlib import Path

import click

from weft.cli.options import Share, as_json, config_option, load_config, quantize_option
from weft.files import check_writable, whole_file
from weft.progress import say, step

__all__ = ["bench"]

json_option = click.option("--json", "json_output", is_flag=True, help="Print one JSON object.")
#: Beyond this only memory would say no.
size = click.IntRange(1, 1 << 20)


@click.group()
def bench():
    """Measure cycles on the RTL with the reference memory, every byte compared with the golden model."""


@bench.command()
@click.option("--m", required=True, type=size, help="Rows of the streamed operand.")
@click.option("--k", required=True, type=size, help="Length of the dot products.")
@click.option("--n", required=True, type=size, help="Output channels.")
@click.option("--weights", default="dense", show_default=True,
              help="Weights of 8 bits (dense, or 2:4 or 1:4 with so many of 4 other than zero), of 4 bits with a scale for each "
                   "group of inputs (w4g16 to w4g128), or in circulant blocks (circulant:4, 8 or 16); a named configuration "
                   "gets the option that they need, another one must have it.")
@click.option("--zero-tiles", default=0.0, show_default=True, type=Share(),
              help="Share of the weight tiles that hold zeros only, drawn at random.")
@config_option
@json_option
def gemm(m, k, n, weights, zero_tiles, config_name, json_output):
    """One matrix product [m, k] x [k, n] with random int8 operands."""
    from weft.bench import bench_gemm

    _measure(f"GEMM {m}x{k}x{n}, {weights} weights" if weights != "dense" else f"GEMM {m}x{k}x{n}", bench_gemm, (m, k, n),
             config_name, json_output, weights=weights, zero_tiles=zero_tiles)


@bench.command()
@click.option("--heads", required=True, type=click.IntRange(1, 4096))
@click.option("--seq", required=True, type=size, help="Queries and keys.")
@click.option("--dim", required=True, type=size, help="Features of a head.")
@click.option("--causal", is_flag=True, help="No query sees later keys; products on and below the diagonal count.")
@config_option
@json_option
def attention(heads, seq, dim, causal, config_name, json_output):
    """Attention of several heads over random queries, keys and values."""
    from weft.bench import bench_attention

    _measure(f"attention, {heads} heads, {seq} tokens", bench_attention, (heads, seq, dim), config_name, json_output,
             causal=causal)


@bench.command()
@click.option("--heads", required=True, type=click.IntRange(1, 4096))
@click.option("--seq", required=True, type=size, help="Tokens.")
@click.option("--embed", required=True, type=size, help="Features of a token.")
@click.option("--head-dim", required=True, type=size, help="Features of a head.")
@config_option
@json_option
def mha(heads, seq, embed, head_dim, config_name, json_output):
    """One attention layer: projections to queries, keys and values, attention, output projection; random weights."""
    from weft.bench import bench_mha

    _measure(f"attention layer, {heads} heads, {seq} tokens", bench_mha, (heads, seq, embed, head_dim), config_name,
             json_output)


@bench.command()
@click.option("--seq", required=True, type=size, help="Tokens.")
@click.option("--width", required=True, type=size, help="Features of a token.")
@click.option("--inner", required=True, type=size, help="Neurons.")
@click.option("--pruned", default=0.0, show_default=True, type=Share(),
              help="Share of the neurons whose weights are zero.")
@config_option
@json_option
def ffn(seq, width, inner, pruned, config_name, json_output):
    """A feed-forward block as a compiled model, some of its neurons pruned away; random weights."""
    from weft.bench import bench_ffn

    _measure(f"feed-forward block {width}-{inner}-{width}, {seq} tokens", bench_ffn, (seq, width, inner), config_name,
             json_output, pruned=pruned)


@bench.command()
@click.argument("name", metavar="NAME|DIR")
@click.option("--seq", type=size, help="Tokens; of a decoding bench those before the one that is measured.  [default: "
                                       "the model's usual number; needed for a folder]")
@click.option("--weights", default="dense", show_default=True,
              help="2:4 or 1:4: linear layers of bert-base or vit-tiny pruned so by magnitude; a named configuration gets the "
                   "sparsity that they need, another one must have it.")
@quantize_option
@config_option
@json_option
def model(name, seq, weights, quantization, config_name, json_output):
    """A whole model: minilm, bert-base, vit-tiny, gpt2-prefill, gpt2-decode, gpt2-circulant-decode, shakespeare-decode, or a
    local Hugging Face folder of a text model.

    The trained ones have their weights (minilm, shakespeare-decode), the others random ones. A named configuration gets the
    options that weight formats in --quantize need, such as '*=w4g32'; another one must have them.
    """
    from weft.bench import bench_model

    _measure(f"model {name}, {weights} weights" if weights != "dense" else f"model {name}", bench_model, (name, seq),
             config_name, json_output, quantization=quantization, weights=weights)


@bench.command()
@click.option("--only", metavar="PATTERN", help="Rows whose name contains this, or matches it with * and ?.")
@click.option("--out", "out_file", type=click.Path(path_type=Path), default=Path("build/bench.json"), show_default=True,
              help="JSON file for figures and versions.")
@json_option
def table(only, out_file, json_output):
    """Every row of the README's table: goal and result; exit status 1 if a run fails or a byte differs."""
    from weft.bench import table as rows
    from weft.bench.versions import versions

    chosen = rows.chosen(only)
    out_file = check_writable(out_file)
    measured_with = versions([load_config(name) for name in dict.fromkeys(row.config for row in chosen)])
    records = []

    def document():
        return as_json({"versions": measured_with, "rows": records})

    def done(record):
        records.append(record)
        # What hours of simulation gave is not lost when the next row is stopped.
        with whole_file(out_file) as part:
            part.write_text(document() + "\n", encoding="utf-8")
        click.echo(rows.table_lines([record])[-1], err=True)

    rows.measure(chosen, lambda row: step(f"{row.name} on {row.config}"), done)
    if json_output:
        click.echo(document())
    else:
        click.echo("\n".join(rows.table_lines(records)))
        goals = [r["met"] for r in records if r["met"] is not None]
        click.echo(f"{out_file}  {sum(goals)} of {len(goals)} goals met")
    if not all(r["exact"] for r in records):
        raise click.exceptions.Exit(1)


def _measure(what, function, arguments, config_name, json_output, **options):
    """Runs a bench and prints its figures."""
    config = load_config(config_name)
    with step(f"{what} on {config.name}") as tell:
        figures = function(*arguments, config=config, tell=tell, **options)
    if figures["config"] != config.name:
        say(f"measured on {figures['config']}, which the weights need")
    if json_output:
        click.echo(as_json(figures))
        return
    width = max(map(len, figures))
    for name, value in figures.items():
        shown = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else value
        click.echo(f"{name:<{width}}  {shown}")
