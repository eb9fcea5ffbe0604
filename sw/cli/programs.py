"""Commands about programs: compile, run, verify, predict, accuracy, disassemble, export."""

from importlib.util import find_spec
from pathlib import Path

import click

from weft.cli.options import (
    as_json,
    config_option,
    load_config,
    new_tokens_option,
    prompt_option,
    quantize_option,
    text_option,
)
from weft.files import check_writable, whole_file
from weft.hw.boards.protocol import BAUD
from weft.hw.errors import InputError
from weft.progress import step

__all__ = ["accuracy", "compile_command", "disassemble", "export", "predict", "run", "verify"]

program_argument = click.argument("program_file", metavar="PROGRAM", type=click.Path(path_type=Path))


@click.command("compile")
@click.option("--model", "model_dir", required=True, type=click.Path(path_type=Path),
              help="Local Hugging Face folder with config.json, weights and tokenizer.")
@click.option("--seq", type=click.IntRange(min=1), help="Longest text, in tokens.")
@click.option("--decoder", is_flag=True, help="A causal language model, which continues prompts.")
@click.option("--max-length", type=click.IntRange(min=1),
              help="With --decoder: tokens of prompt and continuation together.  [default: 256]")
@config_option
@click.option("--calibrate", "calibrate_file", type=click.Path(path_type=Path),
              help="Text file, one sentence a line; by default the sentences that ship with Weft.")
@quantize_option
@click.option("--out", "out_file", required=True, type=click.Path(path_type=Path), help="Program file to write.")
def compile_command(model_dir, seq, decoder, max_length, config_name, calibrate_file, quantization, out_file):
    """Compile a text model for a configuration."""
    if decoder and seq is not None:
        raise click.UsageError("--seq is for models that take whole texts; a decoder takes --max-length.")
    if not decoder and (seq is None or max_length is not None):
        raise click.UsageError("Missing option '--seq'." if seq is None else "--max-length needs --decoder.")
    config = load_config(config_name)
    out_file = check_writable(out_file)
    _need_models()
    from weft.text import compile_decoder_folder, compile_folder

    length = (max_length or 256) if decoder else seq
    with step(f"compiling {model_dir} for {length} tokens on {config.rows}x{config.cols}") as tell:
        compile_it = compile_decoder_folder if decoder else compile_folder
        program = compile_it(model_dir, length, config, calibrate_file, quantization=quantization, progress=tell)
        program.save(out_file)
    click.echo(f"{out_file}  {out_file.stat().st_size:,} bytes")


@click.command()
@program_argument
@text_option
@prompt_option
@new_tokens_option
@click.option("--backend", type=click.Choice(["rtl", "golden"]), default="rtl", show_default=True,
              help="The Verilog in Verilator, or the golden model in NumPy.")
@click.option("--board", "board_port", metavar="PORT", help="Instead of a backend: an FPGA board, by its serial port.")
@click.option("--baud", type=click.IntRange(min=300), default=BAUD, show_default=True, help="Speed of the board's serial port.")
@click.option("--out", "out_file", type=click.Path(path_type=Path), help="Write the outputs to this .npz file.")
@click.option("--json", "json_output", is_flag=True, help="Print one JSON object per text or prompt, results included.")
def run(program_file, texts, prompt, max_new_tokens, backend, board_port, baud, out_file, json_output):
    """Run a program on texts; prints its outputs' shapes and, for the RTL and boards, cycles and where they went. A decoder
    continues a prompt; its tokens are printed as they come."""
    from weft.stats import stats_dict, stats_lines

    program = _load(program_file, texts, prompt)
    if prompt is not None:
        if out_file is not None:
            raise click.UsageError("--out keeps the outputs of texts; a decoder has none.")
        _generate(program, prompt, max_new_tokens, _machine(backend, board_port, baud), json_output)
        return
    inputs = _inputs(program, texts)
    if out_file is not None:
        out_file = check_writable(out_file)
    kept = {}
    machine, backend = _machine(backend, board_port, baud), board_port or backend
    if machine == "rtl":
        _build_simulation(program)
    for number, (text, (args, kwargs)) in enumerate(zip(texts, inputs, strict=True)):
        with step(f"running {text!r} on {backend}") as tell:
            result = program.run(args, kwargs, backend=machine, progress=_cycles(tell))
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

        with whole_file(out_file) as temporary, temporary.open("wb") as file:
            np.savez(file, **kept)
        click.echo(f"{out_file}  {out_file.stat().st_size:,} bytes", err=True)


@click.command()
@program_argument
@text_option
@prompt_option
@new_tokens_option
def verify(program_file, texts, prompt, max_new_tokens):
    """Run texts, or a decoder's prompt, on the RTL and on the golden model and compare every byte written; exit status
    2 on a difference."""
    from weft.stats import stats_lines

    program = _load(program_file, texts, prompt)
    if prompt is not None:
        _generate(program, prompt, max_new_tokens, "verify")
        click.echo("every byte written is equal")
        return
    inputs = _inputs(program, texts)
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
    """Print the signal-to-noise ratio of each tensor against the float model, worst first. A decoder reads the sentences
    as one text."""
    import weft

    program = weft.load(program_file)
    _need_models()
    from weft.text import calibration_sentences, encode, encode_prompt, load_folder

    decoder = isinstance(program, weft.DecoderProgram)
    sentences = calibration_sentences(data_file)[:limit]
    if decoder:
        data = [encode_prompt(program, "\n".join(sentences))]
    else:
        data = [encode(program, sentence, truncate=True) for sentence in sentences]
    with step(f"comparing {len(sentences)} sentences with {model_dir}"):
        report = weft.accuracy_report(load_folder(model_dir, decoder=decoder).module, program, data)
    click.echo(as_json(report.as_dict()) if json_output else report)


@click.command()
@program_argument
def disassemble(program_file):
    """Print a program's instructions, one a line."""
    import weft

    for line in weft.load(program_file).disassemble():
        click.echo(line)


@click.command()
@program_argument
@click.option("--out", "out_dir", required=True, type=click.Path(path_type=Path),
              help="Folder for program.bin, weft.h, weft.c and weft_registers.h.")
def export(program_file, out_dir):
    """Write a program for a host without an operating system, with the driver in C that runs it; prints what the host
    writes and reads."""
    import weft
    from weft.export import export_program, exported_tensors

    program = weft.load(program_file)
    for path in export_program(program, out_dir):
        click.echo(f"{path}  {path.stat().st_size:,} bytes")
    for number, t in enumerate(exported_tensors(program)):
        click.echo(f"{t['program']} {t['role']}  tensor {number}: {t['name']}  {t['kind']} {t['type']} "
                   f"[{t['rows']}, {t['features']}]")


@click.command()
@program_argument
@click.option("--position", type=click.IntRange(min=0), help="Of a decoder: position of the token.  [default: 0]")
@click.option("--json", "json_output", is_flag=True, help="Print one JSON object.")
def predict(program_file, position, json_output):
    """Print the cycles that a run takes with the reference memory, by the performance model: no RTL is simulated."""
    import weft

    program = weft.load(program_file)
    if isinstance(program, weft.DecoderProgram):
        position = position or 0
        if position >= program.max_length:
            raise InputError(f"--position must be below the decoder's {program.max_length} positions, not {position}")
        figures = {name: program.predicted_cycles(name, position) for name in program.steps}
    elif position is not None:
        raise InputError(f"program file {program_file} is no decoder, so it takes no --position")
    else:
        cycles = program.predicted_cycles
        c = program.config
        figures = {"cycles": cycles, "roofline_cycles": program.roofline_cycles, "macs": program.macs,
                   "utilization": round(program.macs / (c.rows * c.cols * cycles), 4)}
    if json_output:
        click.echo(as_json(figures))
    else:
        for name, value in figures.items():
            click.echo(f"{name:<16} {value:,}")


def _load(program_file, texts, prompt):
    """The program in a file, which takes a prompt if it is a decoder and texts otherwise."""
    import weft

    program = weft.load(program_file)
    if isinstance(program, weft.DecoderProgram):
        if prompt is None or texts:
            raise InputError(f"program file {program_file} is a decoder, which takes a --prompt")
    elif prompt is not None:
        raise InputError(f"program file {program_file} is no decoder, so it takes --text and no --prompt")
    elif not texts:
        raise click.UsageError("Missing option '--text'.")
    _need_models("tokenizers")
    return program


def _inputs(program, texts):
    """`(args, kwargs)` of each text."""
    from weft.text import encode

    return [encode(program, text) for text in texts]


def _machine(backend, port, baud):
    """The backend: the name given, or the board at a serial port."""
    if port is None:
        return backend
    from weft.board import Board

    return Board(port, baud)


def _generate(program, prompt, max_new_tokens, backend, json_output=False):
    """Continues a prompt; prints it and every token as it comes, then what the last token cost, or one JSON object."""
    from weft.stats import stats_dict, stats_lines
    from weft.text import encode_prompt, pieces

    session = program.session(backend)
    ids = encode_prompt(program, prompt)
    tokens = session.generate(ids, max_new_tokens)      # a prompt that does not fit is refused before the long step
    if backend in ("rtl", "verify"):
        _build_simulation(program)
    if json_output:
        tokens = list(tokens)
        name = backend if isinstance(backend, str) else backend.name
        click.echo(as_json({"prompt": prompt, "backend": name, "tokens": tokens,
                            "text": "".join(pieces(program, ids, tokens)), "stats": stats_dict(session.stats)}))
        return
    click.echo(prompt, nl=False)
    for piece in pieces(program, ids, tokens):
        click.echo(piece, nl=False)
    click.echo()
    click.echo("\n".join(["", f"the last run, at position {session.position - 1}:", *stats_lines(session.stats)]))


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
