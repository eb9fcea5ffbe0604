"""nextpnr on a netlist for ECP5: it places, paths that are too long are shortened (`placement`), and it routes; what is late
then is moved once more, until the clock is reached or nothing more is gained."""

from math import inf
from pathlib import Path

from ..tools import run_tool
from .placement import refine, repair

__all__ = ["place_and_route"]

#: Paths are shortened before they are routed, to this share of the clock's period: routes are longer here and there.
_SHARE = 0.95
#: How often at most what the router left late is moved.
_REPAIRS = 3


def place_and_route(folder, netlist, device, target_mhz, seed, outputs, run="", placer="static", tell=lambda text: None):
    """Places and routes a file ``netlist`` of a folder.

    ``device``: nextpnr's arguments for device and pins; ``outputs``: those for what routing writes. The logs are
    ``placement-RUN.log`` and ``routing-RUN.log``, the netlist in the end ``routed-RUN.json``, without the ``run`` if it is empty.
    ``tell(text)`` hears of paths that are being shortened. A clock that is missed is no error; raises RunError if nextpnr fails.
    """
    folder, end, period_ns = Path(folder), f"-{run}" if run else "", 1000 / target_mhz
    placed, refined, turn, routed = (folder / f"{name}{end}.json" for name in ("placed", "refined", "turn", "routed"))
    delays = folder / f"turn{end}.sdf"
    common = [*device, "--freq", target_mhz, "--seed", seed, "--timing-allow-fail", "-q"]

    def nextpnr(step, *arguments):
        log = f"{step}{end}.log"
        run_tool("nextpnr-ecp5", [*common, "-l", log, *arguments], folder, log)

    def route(source, *arguments):
        nextpnr("routing", "--json", source.name, "--no-pack", "--no-place", *arguments, *outputs)

    nextpnr("placement", "--json", netlist, "--placer", placer, "--no-route", "--write", placed.name)
    refine(placed, refined, _SHARE * period_ns, tell)
    shortest = inf
    for _ in range(1 + _REPAIRS):
        route(refined, "--write", turn.name, "--sdf", delays.name)
        longest, again = repair(turn, delays, refined, period_ns, tell)
        if longest < shortest:
            shortest = longest
            turn.replace(routed)
        if not again:
            break
    if longest > shortest:
        route(routed)       # the outputs are those of a worse one
    for path in (turn, delays):
        path.unlink(missing_ok=True)
