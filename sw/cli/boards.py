"""Commands about FPGA boards: build."""

from pathlib import Path

import click

from weft.cli.options import as_json, config_option, load_config
from weft.files import check_writable
from weft.hw.boards.protocol import BAUD
from weft.hw.errors import InputError, RunError
from weft.progress import step

__all__ = ["build"]


@click.command()
@click.option("--board", "board_name", required=True, metavar="NAME", help="Such as ulx3s-85f; an unknown one lists them all.")
@config_option
@click.option("--out", "out_dir", required=True, type=click.Path(file_okay=False, path_type=Path),
              help="Folder for bitstream, reports and everything they are made from.")
@click.option("--memory-kib", type=int, help="On-chip memory for programs.  [default: what is left, up to 256]")
@click.option("--clock-mhz", type=float, help="Clock of the accelerator.  [default: 25]")
@click.option("--baud", type=int, default=BAUD, show_default=True, help="Speed of the serial line to the host.")
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True,
              help="Of the placement: another may reach another clock.")
@click.option("--json", "json_output", is_flag=True, help="Print one JSON object.")
def build(board_name, config_name, out_dir, memory_kib, clock_mhz, baud, seed, json_output):
    """Make a board's bitstream: accelerator, memory on the chip, and a link to the host over a serial line.

    ECP5 boards are built with the open tools; for others the vendor's project is written. Exit status 1 when the design does
    not fit or misses its clock.
    """
    config = load_config(config_name)
    check_writable(out_dir / "top.bit")
    from weft.hw.boards.build import OPEN_TOOLS, write_project
    from weft.hw.boards.build import build as build_bitstream
    from weft.hw.boards.design import design_board
    from weft.hw.tools import find_tools

    design = design_board(board_name, config, memory_kib, clock_mhz, baud)
    figures = {"board": design.board.name, "configuration": config.name, "memory_bytes": design.memory_bytes,
               "clock_mhz": design.clock_hz / 1e6, "baud": round(design.baud)}
    try:
        if design.board.tools == "ecp5":
            find_tools(*OPEN_TOOLS)
            with step(f"building {config.name} for {design.board.name}") as tell:
                report = build_bitstream(design, out_dir, seed, tell)
            figures |= {"reached_mhz": round(report.clock_mhz, 2), "used": report.used, "available": report.available,
                        "bitstream": str(report.bitstream)}
        else:
            with step(f"writing the project of {config.name} for {design.board.name}"):
                write_project(design, out_dir)
            figures["project"] = str(out_dir / "top.tcl")
    except OSError as error:
        raise InputError(f"cannot write into {out_dir}: {error.strerror}") from None
    except RunError as error:
        click.echo(f"weft: {error}", err=True)
        raise click.exceptions.Exit(1) from None
    if json_output:
        click.echo(as_json(figures))
        return
    click.echo(f"{config.name} on {design.board.name}: {design.memory_bytes // 1024} KiB of memory, {figures['clock_mhz']:g} MHz, "
               f"{figures['baud']:,} baud")
    if "project" in figures:
        click.echo(f"{figures['project']}  build it with: cd {out_dir} && vivado -mode batch -source top.tcl")
        return
    for name, used in figures["used"].items():
        click.echo(f"  {name:<12} {used:>7,} of {figures['available'][name]:,}")
    click.echo(f"  clock        {figures['reached_mhz']:g} MHz reached")
    loader = design.board.name.rpartition("-")[0].replace("-", "")
    click.echo(f"{figures['bitstream']}  {report.bitstream.stat().st_size:,} bytes; load it with: openFPGALoader -b {loader} "
               f"{figures['bitstream']}")
