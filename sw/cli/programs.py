"""Commands about programs: compile, run, verify, accuracy, disassemble."""

from importlib.util import find_spec
from pathlib import Path

import click

from weft.cli.options import as_json, config_option, load_config, text_option, writable
from weft.hw.errors import InputError
from weft.progress import step

__all__ = ["accuracy", "compile_command", "disassemble", "run", "verify"]

program_argument = click.argument("program_file", metavar="PROGRAM", type=click.Path(path_type=Path))


@click.command("compile")
@click.option("--model", "model_dir", required=True, type=click.Path(path_type=Path),
              help="Local Hugging Face folder with config.json, weights and tokenizer.")
@click.option("--seq", required=True, type=click.IntRange(min=1), help="Longest text, in tokens.")
@config_option
@click.option("--calibrate", "calibrate_file", type=click.Path(path_type=Path),
              help="Text file, one sentence a line; by default the sentences that ship with Weft.")
@click.option("--out", "out_file", required=True, type=click.Path(path_type=Path), help="Program file to write.")
def compile_command(model_dir, seq, config_name, calibrate_file, out_file):
    """Compile a text model for a configuration."""
    config = load_config(config_name)
    out_file = writable(out_file)
    _need_models()
    from weft.text import compile_folder

    with step(f"compiling {model_dir} for {seq} tokens on {config.rows}x{config.cols}") as tell:
        program = compile_folder(model_dir, seq, config, calibrate_file, progress=tell)
        program.save(out_file)
    click.echo(f"{out_file}  {out_file.stat().st_size:,} bytes")


@click.command()
@program_argument
@text_option
@click.option("--backend", type=click.Choice(["rtl", "golden"]), default="rtl", show_default=True,
              help="The Verilog in Verilator, or the golden model in NumPy.")
@click.option("--out", "out_file", type=click.Path(path_type=Path), help="Write the outputs to this .npz file.")
@click.option("--json", "json_output", is_flag=True, help="Print one JSON object per text, outputs included.")
def run(program_file, texts, backend, out_file, json_output):
    """Run a program on texts; prints its outputs' shapes and, for the RTL, cycles and where they went."""
    from weft.report import stats_dict, stats_lines

    program, inputs = _program_and_inputs(program_file, texts)
    if out_file is not None:
        out_file = writable(out_file)
    kept = {}
    if backend == "rtl":
        _build_simulation(program)
    for number, (text, (args, kwargs)) in enumerate(zip(texts, inputs, strict=True)):
        with step(f"running {text!r} on {backend}") as tell:
            result = program.run(args, kwargs, backend=backend, progress=_cycles(tell))
        if json_output:
            click.echo(as_json({"text": text, "backend": backend, "stats": stats_dict(result.stats),
                                "outputs": list(result.outputs)}))
        else:
            for place, output in enumerate(result.outputs):
                values = ", ".join(f"{value:.4f}" for value in output.ravel()[:6])
                click.echo(f"output {place}  {output.dtype}{list(output.shape)}  {values}, ...")
            click.echo("\n".join(stats_lines(result.stats)))
        kept |= {f"text{number}_output{place}": output for place, output in enumerate(result.outputs)}
    if out_file is not None:
        import numpy as np

        with out_file.open("wb") as file:
            np.savez(file, **kept)
        click.echo(f"{out_file}  {out_file.stat().st_size:,} bytes", err=True)


@click.command()
@program_argument
@text_option
def verify(program_file, texts):
    """Run texts on the RTL and on the golden model and compare every byte written; exit status 2 on a difference."""
    from weft.report import stats_lines

    program, inputs = _program_and_inputs(program_file, texts)
    _build_simulation(program)
    for text, (args, kwargs) in zip(texts, inputs, strict=True):
        with step(f"verifying {text!r}") as tell:
            result = program.verify(args, kwargs, progress=_cycles(tell))
        click.echo("every byte written is equal")
        click.echo("\n".join(stats_lines(result.stats)))


@click.command()
@program_argument
@click.option("--model", "model_dir", required=True, type=click.Path(path_type=Path),
              help="Local Hugging Face folder that the program was compiled from.")
@click.option("--data", "data_file", type=click.Path(path_type=Path),
              help="Text file, one sentence a line; by default the sentences that ship with Weft.")
@click.option("--limit", type=click.IntRange(min=1), help="Only the first sentences.")
@click.option("--json", "json_output", is_flag=True, help="Print one JSON object.")
def accuracy(program_file, model_dir, data_file, limit, json_output):
    """Print the signal-to-noise ratio of each tensor against the float model, worst first."""
    import weft

    program = weft.load(program_file)
    _need_models()
    from weft.text import calibration_sentences, encode, load_folder

    sentences = calibration_sentences(data_file)[:limit]
    data = [encode(program, sentence, truncate=True) for sentence in sentences]
    with step(f"comparing {len(data)} sentences with {model_dir}"):
        report = weft.accuracy_report(load_folder(model_dir).module, program, data)
    click.echo(as_json(report.as_dict()) if json_output else report)


@click.command()
@program_argument
def disassemble(program_file):
    """Print a program's instructions, one a line."""
    import weft

    for line in weft.load(program_file).disassemble():
        click.echo(line)


def _program_and_inputs(program_file, texts):
    """The program in a file, and `(args, kwargs)` of each text."""
    import weft

    program = weft.load(program_file)
    _need_models("tokenizers")
    from weft.text import encode

    return program, [encode(program, text) for text in texts]


def _build_simulation(program):
    with step("building the simulation (kept in a cache)"):
        program.prepare()


def _cycles(tell):
    """A progress function for runs: shows the cycles simulated so far."""
    return lambda cycles: tell(f"{cycles:,} cycles")


def _need_models(*packages):
    """InputError with the remedy when a package of the extra "models" is missing."""
    for package in packages or ("torch", "transformers", "tokenizers"):
        if find_spec(package) is None:
            raise InputError(f"{package} is not installed; install it with: pip install 'weft[models]'")
