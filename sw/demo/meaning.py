"""`scripts/demo sentences`: Verilog, program, RTL run, every byte compared, meaning compared."""

from pathlib import Path

import click

from weft.cli.options import config_option, load_config
from weft.files import check_writable
from weft.hw.errors import InputError
from weft.progress import step

__all__ = ["sentences"]

SENTENCES = (
    "A small boat crosses the bay before the storm.",
    "A little ship sails over the water as bad weather comes near.",
    "The central bank raised interest rates by a quarter of a point.",
    "Borrowing money becomes more expensive after the latest decision of the bank.",
    "How do I keep my tomato plants alive in a hot summer?",
    "What should I do so that vegetables survive the heat?",
)


@click.command()
@click.option("--model", "model_dir", type=Path, metavar="DIR",
              help="Local Hugging Face folder (default: all-MiniLM-L6-v2).")
@click.option("--seq", default=32, show_default=True, type=click.IntRange(min=1), help="Tokens of the compiled program.")
@config_option
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("build/demo"), show_default=True,
              help="Folder for what is made.")
@click.option("--text", "texts", multiple=True, help="Sentence to run; repeat for several (at least two).")
def sentences(model_dir, seq, config_name, out, texts):
    """Which sentences are closest in meaning, by a sentence model on the RTL and in float."""
    from weft.hw.verilog import generate
    from weft.text import compile_folder, encode, folder_config, load_folder, minilm_folder

    texts = texts or SENTENCES
    if len(texts) < 2:
        raise InputError("one sentence has nothing to be close to; give --text at least twice")
    config = load_config(config_name)
    folder = model_dir or minilm_folder()
    folder_config(folder)
    check_writable(out / "model.weft")
    with step(f"1/4 generating the {config.rows}x{config.cols} accelerator"):
        generate(config, out)
    click.echo(f"    {out / 'weft.v'}, {(out / 'weft.v').stat().st_size:,} bytes")

    with step(f"2/4 compiling {model_dir or 'all-MiniLM-L6-v2'} for {seq} tokens") as tell:
        program = compile_folder(folder, seq, config, progress=tell, head=False)
        program.save(out / "model.weft")
    click.echo(f"    {out / 'model.weft'}, {(out / 'model.weft').stat().st_size:,} bytes")

    with step("3/4 building the simulation (kept in a cache)"):
        program.prepare()
    results = _run(program, [encode(program, text) for text in texts])
    click.echo(f"    {len(results)} sentences on the RTL, every byte written equal to the golden model\n")

    _print_meaning(texts, results, load_folder(folder, head=False), seq)
    click.echo(f"\nFirst sentence on the {config.rows}x{config.cols} accelerator, reference memory:")
    from weft.stats import stats_lines

    click.echo("\n".join(stats_lines(results[0].stats)))


def _run(program, inputs):
    """Verify every input; returns the results of the RTL."""
    from tqdm import tqdm

    bar = tqdm(inputs, desc="4/4 running on the RTL and checking every byte", unit="sentence", mininterval=1,
               bar_format="{desc}: {n_fmt}/{total_fmt} [{elapsed}]")
    return [program.verify(args, kwargs) for args, kwargs in bar]


def _print_meaning(texts, results, model, length):
    """For each sentence the closest other one, with the cosines of the accelerator and of the float model."""
    import numpy as np

    from weft.text import pool

    ours = np.stack([pool(result.outputs[0]) for result in results])
    floats = np.stack([model.embed(text, length) for text in texts])
    cosine, reference = ours @ ours.T, floats @ floats.T
    click.echo("closest in meaning                                                accelerator    float")
    for row, text in enumerate(texts):
        others = [column for column in range(len(texts)) if column != row]
        nearest = max(others, key=lambda column: cosine[row, column])
        wanted = max(others, key=lambda column: reference[row, column])
        note = "" if nearest == wanted else f"   (float: {texts[wanted]})"
        click.echo(f"  {text}")
        click.echo(f"    -> {texts[nearest]:<62.62} {cosine[row, nearest]:7.4f}  {reference[row, nearest]:7.4f}{note}")
    click.echo(f"largest difference of a cosine: {np.abs(cosine - reference).max():.4f}")
