"""`scripts/demo generate`: text written on the RTL, token by token, with a model that ships."""

import click

from weft.cli.options import config_option, load_config, new_tokens_option
from weft.progress import step

__all__ = ["generate"]

PROMPT = "ROMEO:\n"


@click.command()
@click.option("--prompt", default=PROMPT, help="How the text begins (default: ROMEO and a new line).")
@new_tokens_option
@config_option
def generate(prompt, max_new_tokens, config_name):
    """Text that the shipped Shakespeare model writes on the RTL, token by token, each step equal to the golden model."""
    from weft.models.programs import shakespeare_program
    from weft.stats import Stats, stats_lines
    from weft.text import encode_prompt, pieces

    config = load_config(config_name)
    name = f"the {config.rows}x{config.cols} accelerator"
    with step(f"1/3 compiling a Llama of 0.8 M parameters for {name}") as tell:
        program = shakespeare_program(config, progress=tell)
    session, ids = program.session("verify"), encode_prompt(program, prompt)
    tokens = session.generate(ids, max_new_tokens)      # a prompt that does not fit is refused before the long step
    with step("2/3 building the simulation (kept in a cache)"):
        program.prepare()
    click.echo(f"3/3 writing on the RTL, every byte compared with the golden model\n\n{prompt}", nl=False)
    written = []

    def kept():
        for token in tokens:
            written.append(token)
            yield token

    for piece in pieces(program, ids, kept()):
        click.echo(piece, nl=False)
    click.echo(f"\n\n{len(written)} tokens; the logits, and every other byte, equal to the golden model's at each step\n")
    # The first of the new tokens comes with the last run of the prompt.
    split = len(session.runs) - (len(written) - 1)
    prompt_runs, token_runs = session.runs[:split], session.runs[split:]
    click.echo(f"prompt of {len(ids)} tokens: {sum(run.cycles for run in prompt_runs):,} cycles")
    if token_runs:
        cycles = [run.cycles for run in token_runs]
        click.echo(f"each token after it: {sum(cycles) / len(cycles):,.0f} cycles on average, {min(cycles):,} to "
                   f"{max(cycles):,}\n\nAll {len(cycles)} of them on {name}, reference memory:")
        click.echo("\n".join(stats_lines(Stats.total(config, token_runs))))
