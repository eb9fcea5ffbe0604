"""Say where pip should take a package from: prints pip's extra arguments, and on stderr how much will be downloaded.

PyPI's torch for Linux brings several GB of CUDA packages. In order: what pip finds without asking anywhere else,
if that is a CPU build; PyTorch's index of CPU wheels, if it answers; else what pip finds after all.
Usage: python torch_source.py REQUIREMENT CONSTRAINTS
"""

import json
import subprocess
import sys
import urllib.request

CPU_INDEX = "https://download.pytorch.org/whl/cpu"


def plan(requirement, constraints, *extra):
    """Addresses of the files that pip would fetch, or None when it finds nothing."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report", "-",
         "--constraint", constraints, *extra, requirement], capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        return None
    return [item["download_info"]["url"] for item in json.loads(done.stdout)["install"]]


def megabytes(addresses):
    """Size of what lies on the network, in MB; what cannot be asked counts nothing."""
    total = 0
    for address in addresses:
        if not address.startswith("http"):
            continue
        try:
            with urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=20) as answer:
                total += int(answer.headers.get("Content-Length", 0))
        except OSError:
            continue
    return total / 1e6


def main(requirement, constraints):
    plain = plan(requirement, constraints)
    chosen, extra = plain, ""
    if plain is None or any("nvidia" in address for address in plain):
        # Its dependencies are on the usual index as well; only torch itself has a "+cpu" build there.
        cpu = plan(requirement, constraints, "--extra-index-url", CPU_INDEX)
        if cpu is not None and not any("nvidia" in address for address in cpu):
            chosen, extra = cpu, f"--extra-index-url {CPU_INDEX}"
    if chosen is None:
        sys.exit(f"pip finds no {requirement} for this Python and machine.")
    cuda = " with CUDA, for want of a CPU build" if any("nvidia" in address for address in chosen) else ""
    print(f"      {requirement}{cuda}: {megabytes(chosen):,.0f} MB to download", file=sys.stderr)
    print(extra)


if __name__ == "__main__":
    main(*sys.argv[1:])
