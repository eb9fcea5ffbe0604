"""The report: one HTML page that needs nothing else, no network and no script."""

from html import escape
from importlib.resources import files

from weft import __version__
from weft.hw.control.register_map import THREADS

from .charts import roofline, timeline
from .figures import groups, longest_waits
from .stalls import CAUSES, WORK

__all__ = ["report_page"]

_WORK_NAMES = {"tensor": "array computes", "weights": "weights enter the array", "vector": "vector engine",
               "load": "loading", "store": "storing", "dispatch": "fetch and dispatch"}
_CAUSE_NAMES = {"busy": "busy", "wait_token": "waits for a token", "wait_memory": "waits for memory",
                "wait_weights": "waits for weights", "drain": "drains", "idle": "has no instruction"}
#: Waits that are listed.
_WAITS = 24


def report_page(name, profiles):
    """The page of `Profile`s of one program file, as text."""
    config = profiles[0].config
    body = [f"<h1>{escape(name)}</h1>",
            f'<p class="sub">Profile on the RTL of a {config.rows} x {config.cols} array (configuration '
            f"{escape(config.name)}) with the reference memory: {config.data_bytes} bytes a beat, 64 cycles latency. Every "
            "byte that the accelerator wrote was compared with the golden model and equal.</p>"]
    if len(profiles) > 1:
        links = (f'<a href="#run{number}">{escape(profile.title)}</a>' for number, profile in enumerate(profiles))
        body.append(f"<nav>{''.join(links)}</nav>")
    for number, profile in enumerate(profiles):
        if len(profiles) > 1:
            body.append(f'<h2 id="run{number}">{escape(profile.title)}</h2>')
        body += _run(profile)
    body.append(f"<footer>Weft {__version__}. trace.json beside this page shows every instruction and every stall; open it "
                "with ui.perfetto.dev or chrome://tracing.</footer>")
    style = files("weft.profile").joinpath("style.css").read_text(encoding="utf-8")
    return ('<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{escape(name)}: where the cycles go</title><style>\n{style}</style></head><body><main>\n"
            + "\n".join(body) + "\n</main></body></html>\n")


def _run(profile):
    yield _tiles(profile)
    yield from _spent(profile)
    yield "<h3>Timeline</h3>"
    yield ('<p class="note">Each row is full where the engine does the same all the time; what is blank has no '
           "instruction. Below: the beats of the bus, and the layer that most cycles were spent on.</p>")
    yield _legend("s", {cause: _CAUSE_NAMES[cause] for cause in CAUSES[1:]})
    yield f'<div class="card wide">{timeline(profile)}</div>'
    yield "<h3>Roofline</h3>"
    yield ('<p class="note">A circle is a layer, its area grows with its cycles. Above the sloped line lie layers whose '
           "weights were loaded while others computed. Point at a circle for its figures. Layers of equal name in "
           "different blocks are named once, without the block.</p>")
    yield f'<div class="card roofline">{roofline(profile)}</div>'
    yield from _layers(profile)
    yield from _stalls(profile)


def _tiles(profile):
    stats, peak = profile.stats, profile.config.rows * profile.config.cols
    array = sum(layer.array_cycles for layer in profile.layers)
    beats = stats.cycles * profile.config.data_bytes
    figures = [
        (f"{stats.cycles:,}", "cycles from start to done"),
        (f"{100 * stats.utilization:.1f} %", f"of {peak:,} multipliers do the model's MACs"),
        (f"{stats.cycles / max(stats.roofline_cycles, 1):.2f} x", f"roofline, {stats.roofline_cycles:,} cycles"),
        (f"{100 * array / stats.cycles:.1f} %", "of cycles bring a row into the array"),
        (_large(stats.macs), f"MACs of the model; {_large(stats.skipped_macs)} skipped"),
        (f"{100 * stats.gated_macs / max(stats.array_macs, 1):.1f} %", "of the array's multiplications are by zero"),
        (_bytes(stats.dram_read_bytes), f"read, {100 * stats.dram_read_bytes / beats:.0f} % of the port's cycles"),
        (_bytes(stats.dram_write_bytes), f"written, {100 * stats.dram_write_bytes / beats:.0f} % of the port's cycles"),
    ]
    return '<div class="tiles">' + "".join(f'<div class="tile"><b>{value}</b><span>{escape(words)}</span></div>'
                                           for value, words in figures) + "</div>"


def _large(count):
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count}"


def _bytes(count):
    for unit, size in (("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"


def _legend(kind, names):
    return '<div class="legend">' + "".join(f'<span><i class="{kind}-{name}"></i>{escape(words)}</span>'
                                            for name, words in names.items()) + "</div>"


def _bar(kind, parts, whole, names, unit="cycles"):
    """A stacked bar; its length is the parts' share of ``whole``."""
    pieces = []
    for name, count in parts.items():
        share = 100 * count / whole
        if share >= 0.05:
            words = f"{escape(names[name])}: {count:,} {unit}, {share:.1f} %"
            pieces.append(f'<i class="{kind}-{name}" style="width:{share:.3g}%" title="{words}"></i>')
    return f'<div class="bar">{"".join(pieces)}</div>'


def _spent(profile):
    cycles = profile.stats.cycles
    work = {name: sum(layer.work[name] for layer in profile.layers) for name in WORK}
    yield "<h3>What the cycles were spent on</h3>"
    yield ('<p class="note">Each cycle counts once: where the array does not compute, the chain of who waits for whom is '
           "followed to the engine that is at work.</p>")
    shares = {name: f"{_WORK_NAMES[name]} {100 * count / cycles:.1f} %" for name, count in work.items()}
    yield _legend("w", shares)
    yield f'<div class="card full">{_bar("w", work, cycles, _WORK_NAMES)}</div>'


_HEAD = ('<tr><th>layer</th>{count}<th>cycles spent on it</th><th class="n">cycles</th><th class="n">of all</th>'
         '<th class="n">utilization</th><th>memory traffic</th><th class="n">read</th><th class="n">written</th></tr>')


def _layers(profile):
    stats, peak = profile.stats, profile.config.rows * profile.config.cols
    yield "<h3>Layers</h3>"
    yield ("<p class=\"note\">The cycles of all layers add up to the run's. Utilization is the layer's MACs in its cycles, of "
           "what the array could do. Traffic is what the layer's own loads and stores move, whenever they do.</p>")
    yield _legend("w", _WORK_NAMES)
    yield _legend("b", {"read": "bytes read", "written": "bytes written"})
    gathered = groups(profile.layers)
    if len(gathered) < len(profile.layers):
        yield '<div class="card"><table>' + _HEAD.format(count='<th class="n">layers</th>')
        most, traffic = _largest(gathered)
        for group in gathered:
            yield _row(group, most, traffic, stats.cycles, peak, f'<td class="n">{group.count}</td>')
        yield _fetched(profile, traffic, "<td></td>") + "</table></div>"
    yield '<details open><summary>Every layer</summary><div class="card"><table>' + _HEAD.format(count="")
    most, traffic = _largest(profile.layers)
    for layer in profile.layers:
        yield _row(layer, most, traffic, stats.cycles, peak)
    yield _fetched(profile, traffic) + "</table></div></details>"


def _largest(layers):
    return (max(max(layer.cycles for layer in layers), 1),
            max(max(layer.read_bytes + layer.written_bytes for layer in layers), 1))


def _row(layer, most, traffic, cycles, peak, count=""):
    use = f"{100 * layer.macs / (peak * layer.cycles):.1f} %" if layer.macs and layer.cycles else ""
    moved = {"read": layer.read_bytes, "written": layer.written_bytes}
    return (f'<tr><td class="name">{escape(layer.name)}</td>{count}<td class="chart">'
            f'{_bar("w", layer.work, most, _WORK_NAMES)}</td><td class="n">{layer.cycles:,}</td>'
            f'<td class="n">{100 * layer.cycles / cycles:.1f} %</td><td class="n">{use}</td><td class="chart">'
            f'{_bar("b", moved, traffic, {"read": "read", "written": "written"}, "bytes")}</td>'
            f'<td class="n">{_bytes(layer.read_bytes) if layer.read_bytes else ""}</td>'
            f'<td class="n">{_bytes(layer.written_bytes) if layer.written_bytes else ""}</td></tr>')


def _fetched(profile, traffic, count=""):
    return (f'<tr><td class="name">(fetching instructions)</td>{count}{4 * "<td></td>"}<td class="chart">'
            f'{_bar("b", {"read": profile.fetched_bytes}, traffic, {"read": "read"}, "bytes")}</td>'
            f'<td class="n">{_bytes(profile.fetched_bytes)}</td><td></td></tr>')


def _stalls(profile):
    cycles = profile.stats.cycles
    yield "<h3>Stalls by engine</h3>"
    yield ("<p class=\"note\">From the accelerator's own counters. A token says that another engine has finished something; "
           "a load engine that waits for tokens is ahead and waits for room.</p>")
    order = [*CAUSES[1:], CAUSES[0]]
    yield _legend("s", {cause: _CAUSE_NAMES[cause] for cause in order})
    yield '<div class="card"><table><tr><th>engine</th><th>share of all cycles</th>' + "".join(
        f'<th class="n">{escape(_CAUSE_NAMES[cause])}</th>' for cause in order) + "</tr>"
    for thread in THREADS:
        counts = dict(profile.stats.engines[thread])
        counts["idle"] = cycles - sum(counts.values())
        yield (f'<tr><td>{thread}</td><td class="chart" style="width:40%"><div class="track">'
               f'{_bar("s", {cause: counts[cause] for cause in order}, cycles, _CAUSE_NAMES)}</div></td>'
               + "".join(f'<td class="n">{100 * counts[cause] / cycles:.1f} %</td>' for cause in order) + "</tr>")
    yield "</table></div>"
    waits = longest_waits(profile)
    if not waits:
        return
    yield "<h3>Longest waits</h3>"
    yield ('<p class="note">Who stands still, and what ended it: the engine and the instruction that gave the token, those '
           "of like layers together. First the array's waits, which cost cycles; the others mostly wait because the array "
           f"is busy. {min(_WAITS, len(waits))} of {len(waits)} are shown.</p>")
    yield ('<div class="card"><table><tr><th>engine</th><th>waits for</th><th>of layer</th><th></th>'
           '<th class="n">cycles</th><th class="n">of all</th><th class="n">times</th><th class="n">longest</th></tr>')
    most = max(wait.cycles for wait in waits)
    for wait in waits[:_WAITS]:
        what = f"{wait.giver}: {wait.instruction}" if wait.giver else _CAUSE_NAMES[wait.cause].removeprefix("waits for ")
        yield (f'<tr><td>{wait.thread}</td><td>{escape(what)}</td><td class="name">{escape(wait.layer)}</td>'
               f'<td class="chart">{_bar("s", {wait.cause: wait.cycles}, most, _CAUSE_NAMES)}</td>'
               f'<td class="n">{wait.cycles:,}</td><td class="n">{100 * wait.cycles / cycles:.1f} %</td>'
               f'<td class="n">{wait.count:,}</td><td class="n">{wait.longest:,}</td></tr>')
    yield "</table></div>"
