"""nextpnr on a netlist for ECP5: it places, paths that are too long are shortened (`placement`), and it routes."""

from pathlib import Path

from ..tools import run_tool
from .placement import refine

__all__ = ["place_and_route"]

#: Paths are shortened before they are routed, to this share of the clock's period: routes are longer here and there.
_SHARE = 0.95


def place_and_route(folder, netlist, device, target_mhz, seed, outputs, run="", placer="static", tell=lambda text: None):
    """Places and routes a file ``netlist`` of a folder.

    ``device``: nextpnr's arguments for device and pins; ``outputs``: those for what routing writes. The logs are
    ``placement-RUN.log`` and ``routing-RUN.log``, without the ``run`` if it is empty. ``tell(text)`` hears of paths that are
    being shortened. A clock that is missed is no error; raises RunError if nextpnr fails.
    """
    folder, end = Path(folder), f"-{run}" if run else ""
    placed, refined = (folder / f"{name}{end}.json" for name in ("placed", "refined"))
    common = [*device, "--freq", target_mhz, "--seed", seed, "--timing-allow-fail", "-q"]

    def nextpnr(step, *arguments):
        log = f"{step}{end}.log"
        run_tool("nextpnr-ecp5", [*common, "-l", log, *arguments], folder, log)

    nextpnr("placement", "--json", netlist, "--placer", placer, "--no-route", "--write", placed.name)
    refine(placed, refined, _SHARE * 1000 / target_mhz, tell)
    nextpnr("routing", "--json", refined.name, "--no-pack", "--no-place", *outputs)
