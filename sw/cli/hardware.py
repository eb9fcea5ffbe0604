"""Commands about the hardware alone: generate, info, regress."""

from dataclasses import fields
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

import click

from weft.cli.options import as_json, config_option, load_config
from weft.files import check_writable
from weft.hw.errors import InputError, RunError
from weft.progress import step

__all__ = ["generate", "info", "regress"]


@click.command()
@config_option
@click.option("--out", "out_dir", required=True, type=click.Path(file_okay=False, path_type=Path),
              help="Folder for weft.v and weft.json.")
@click.option("--flow", default="plain", show_default=True, metavar="FLOW",
              help="What else is written: plain nothing; fusesoc, vivado, quartus, openroad what these tools need.")
@click.option("--clock-mhz", type=float, help="Clock of the flow's constraints.  [default: 100]")
def generate(config_name, out_dir, flow, clock_mhz):
    """Write the accelerator's Verilog, a JSON file of its ports, memories and parameters, and what a tool flow needs."""
    config = load_config(config_name)
    check_writable(out_dir / "weft.v")
    with step(f"generating {config.rows}x{config.cols}"):
        from weft.hw.flows import generate_flow

        try:
            written = generate_flow(config, out_dir, flow, clock_mhz)
        except OSError as error:
            raise InputError(f"cannot write into {out_dir}: {error.strerror}") from None
    for path in written:
        click.echo(f"{path}  {path.stat().st_size:,} bytes")


@click.command()
@config_option
@click.option("--json", "json_output", is_flag=True, help="Print one JSON object.")
def info(config_name, json_output):
    """Print a configuration's parameters and what follows from them."""
    config = load_config(config_name)
    chosen = {field.name: getattr(config, field.name) for field in fields(config)}
    derived = {name: getattr(config, name) for name, member in vars(type(config)).items()
               if isinstance(member, (property, cached_property))}
    derived["macs_per_cycle"] = config.rows * config.cols
    if json_output:
        click.echo(as_json({"parameters": chosen, "derived": derived}))
        return
    width = max(len(name) for name in [*chosen, *derived])
    for title, values in (("parameters", chosen), ("derived", derived)):
        click.echo(title)
        for name, value in values.items():
            shown = f"0x{value:08x}" if name == "fingerprint" else f"{value:,}" if type(value) is int else value
            click.echo(f"  {name:<{width}}  {shown}")


@click.command()
@config_option
@click.option("--verilog", "verilog_dir", type=click.Path(file_okay=False, path_type=Path),
              help="Folder written by `weft generate`; by default the Verilog is generated.")
@click.option("--select", metavar="REGEX", help="Only the regressions whose name matches.")
def regress(config_name, verilog_dir, select):
    """Run the cocotb regressions on a configuration; exit status 1 when one fails."""
    config = load_config(config_name)
    if verilog_dir is not None and not (verilog_dir / "weft.v").is_file():
        raise InputError(f"{verilog_dir} holds no weft.v; write one with `weft generate --out {verilog_dir}`")
    if find_spec("cocotb") is None:
        raise InputError("cocotb is not installed; install it with: pip install 'weft[regress]'")
    from weft.sim.regress import run

    try:
        with step(f"running the regressions on {config.rows}x{config.cols}"):
            passed = run(config, verilog_dir=verilog_dir, select=select)
    except RunError as error:
        click.echo(f"weft: {error}", err=True)
        raise click.exceptions.Exit(1) from None
    for name in passed:
        click.echo(f"passed  {name}")
    click.echo(f"{len(passed)} regressions passed on {config.rows}x{config.cols}")
