"""The command `weft profile`."""

from pathlib import Path

import click

from weft.cli.options import prompt_option
from weft.files import check_writable
from weft.hw.errors import InputError
from weft.progress import step

__all__ = ["profile"]


@click.command()
@click.argument("program_file", metavar="PROGRAM", type=click.Path(path_type=Path))
@click.option("--text", help="Text to encode with the program's tokenizer; by default the inputs are random.")
@prompt_option
@click.option("--out", "out_dir", required=True, type=click.Path(file_okay=False, path_type=Path),
              help="Folder for trace.json and report.html.")
def profile(program_file, text, prompt, out_dir):
    """Run a program on the RTL, compare every byte, and write where its cycles went: a trace for Perfetto
    (ui.perfetto.dev) or chrome://tracing, and a page with pictures. Of a decoder, a run of many tokens and one of a
    single token after a prompt."""
    import weft

    program = weft.load(program_file)
    is_decoder = isinstance(program, weft.DecoderProgram)
    if is_decoder and text is not None:
        raise InputError(f"program file {program_file} is a decoder, which takes a --prompt")
    if not is_decoder and prompt is not None:
        raise InputError(f"program file {program_file} is no decoder, so it takes --text and no --prompt")
    from weft.profile import machine, profile_decoder, profile_program, random_inputs, random_prompt, write_profile
    from weft.text import encode, encode_prompt

    if is_decoder:
        inputs = random_prompt(program) if prompt is None else encode_prompt(program, prompt)
    else:
        inputs = random_inputs(program) if text is None else encode(program, text)
    for name in ("trace.json", "report.html"):
        check_writable(out_dir / name)
    with step("building the recording simulation (kept in a cache)"):
        rtl = machine(program.config)
    with step(f"profiling {program_file}") as tell:
        def progress(cycles):
            tell(f"{cycles:,} cycles")

        if is_decoder:
            profiles = profile_decoder(program, inputs, rtl, progress)
        else:
            profiles = [profile_program(program, *inputs, rtl, progress=progress)]
        written = write_profile(out_dir, program_file.name, profiles)
    for path in written:
        click.echo(f"{path}  {path.stat().st_size:,} bytes")
