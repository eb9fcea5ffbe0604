"""Pictures of the report as inline SVG; colours are classes of the page's style sheet."""

from html import escape
from math import ceil, floor, log10

import numpy as np

from weft.hw.control.register_map import THREADS

from .figures import activity, alike, bus_activity, layer_spans, short_names, work_activity
from .stalls import CAUSES, WORK

__all__ = ["roofline", "timeline"]

_WIDTH = 1120
_LABELS = 96            # room for the names of rows


def _svg(width, height, body, label):
    return (f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">' + "".join(body) + "</svg>")


def _text(x, y, text, kind="", anchor="start"):
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(text)}</text>'


def _steps(left, width, lower, upper):
    """A path around the area between two step functions of equally wide bins."""
    xs = left + width * np.arange(len(lower) + 1)

    def along(values, ends):
        # Equal neighbours are one step.
        last = np.append(np.diff(values) != 0, True)
        return "".join(f"V{v:.1f}H{x:.1f}" for v, x in zip(values[last], ends[last]))

    return f"M{xs[0]:.1f} {lower[0]:.1f}{along(upper, xs[1:])}{along(lower[::-1], xs[-2::-1])}Z"


def _stacked(left, top, width, height, shares, classes):
    """Areas of shares (float[kinds, bins]) on top of each other, the first at the bottom."""
    below = np.zeros(shares.shape[1])
    for share, name in zip(shares, classes):
        if share.max(initial=0) > 0.002:
            above = np.minimum(below + share, 1)
            path = _steps(left, width, (top + height * (1 - below)).round(1), (top + height * (1 - above)).round(1))
            yield f'<path d="{path}" class="{name}"/>'
            below = above


def timeline(profile, bins=460):
    """What every engine does over the run, the bus, and the layers that the cycles were spent on."""
    cycles = profile.recording.cycles
    bins = min(bins, cycles)
    edges, width = np.linspace(0, cycles, bins + 1), (_WIDTH - _LABELS) / bins
    body, top = [], 4
    rows = [("spent on", 26, work_activity(profile.blame, edges), [f"w-{name}" for name in WORK])]
    # Idle stays empty.
    rows += [(thread, 30, activity(profile.states[thread], edges)[1:], [f"s-{cause}" for cause in CAUSES[1:]])
             for thread in THREADS]
    for name, height, shares, classes in rows:
        body.append(_text(_LABELS - 10, top + height / 2 + 4, name, "row", "end"))
        body.append(f'<rect x="{_LABELS}" y="{top}" width="{_WIDTH - _LABELS}" height="{height}" class="ground"/>')
        body += _stacked(_LABELS, top, width, height, shares, classes)
        top += height + (12 if name == "spent on" else 5)
    for name, beats, kind in zip(("bus, read", "bus, written"), bus_activity(profile.recording, edges),
                                 ("b-read", "b-written")):
        body.append(_text(_LABELS - 10, top + 15, name, "row", "end"))
        body.append(f'<rect x="{_LABELS}" y="{top}" width="{_WIDTH - _LABELS}" height="22" class="ground"/>')
        body += _stacked(_LABELS, top, width, 22, beats[None], [kind])
        top += 27
    top += 6
    body += _layer_bands(profile, edges, width, top)
    top += 50
    body += _time_axis(cycles, top)
    return _svg(_WIDTH, top + 24, body, "Activity of every engine over the run")


def _layer_bands(profile, edges, width, top):
    """The layer that most of each bin's cycles were spent on, and above it the block that it belongs to."""
    layers, spans = profile.code.layers, layer_spans(profile, edges)
    short = short_names(layers)
    blocks, spans_of_blocks = [_block(name) for name in short], []
    for first, end, layer in spans:
        if spans_of_blocks and blocks[spans_of_blocks[-1][2]] == blocks[layer]:
            first = spans_of_blocks.pop()[0]
        spans_of_blocks.append((first, end, layer))
    for title, some, names, full in (("block", spans_of_blocks, blocks, blocks), ("layer", spans, short, layers)):
        yield _text(_LABELS - 10, top + 14, title, "row", "end")
        for number, (first, end, layer) in enumerate(some):
            left, size = _LABELS + width * first, width * (end - first)
            yield (f'<g><title>{escape(full[layer])}\ncycles {edges[first]:,.0f} to {edges[end]:,.0f}</title>'
                   f'<rect x="{left:.1f}" y="{top}" width="{size:.1f}" height="20" class="layer{number % 2}"/>')
            # About six units a letter; what does not fit is told by the title.
            label = _that_fits(names[layer].removeprefix(blocks[layer] + "."), int((size - 6) / 6))
            if label:
                yield _text(left + 3, top + 14, label, "tiny")
            yield "</g>"
        top += 24


def _block(name):
    """The part of a layer's path up to its first number, or its first component."""
    parts = name.split(".")
    numbers = [place for place, part in enumerate(parts) if part.isdigit()]
    return ".".join(parts[:numbers[0] + 1]) if numbers else parts[0]


def _that_fits(name, letters):
    """As much of a name as has room, if that says anything."""
    if len(name) <= letters:
        return name
    return name[:letters - 1] + "\u2026" if letters >= 6 else ""


def _time_axis(cycles, top):
    step = 10 ** floor(log10(max(cycles / 4, 1)))
    step *= next(factor for factor in (1, 2, 5, 10) if cycles / (step * factor) <= 10)
    for tick in range(0, cycles + 1, int(step)):
        x = _LABELS + (_WIDTH - _LABELS) * tick / cycles
        # The last label would leave the picture.
        anchor = "end" if x > _WIDTH - 40 else "middle"
        yield f'<line x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{top + 4}" class="axis"/>'
        yield _text(x, top + 17, f"{tick:,}", "tick", anchor)
    yield _text(_LABELS - 10, top + 17, "cycle", "row", "end")


def roofline(profile, width=1000, height=470):
    """Every layer with products: MACs a cycle over MACs a byte, below what array and memory port allow."""
    config = profile.config
    peak, port = config.rows * config.cols, config.data_bytes
    points = [(layer, layer.macs / max(layer.read_bytes + layer.written_bytes, 0.5), layer.macs / max(layer.cycles, 1))
              for layer in profile.layers if layer.macs and layer.cycles]
    if not points:
        return '<p class="note">No layer of this program has products.</p>'
    finite = [x for layer, x, _ in points if layer.read_bytes + layer.written_bytes] or [peak / port]
    left, right, top, bottom = 64, width - 16, 16, height - 46
    x0, x1 = log10(min(*finite, peak / port) / 2), log10(max(*finite, peak / port) * 4)
    y0, y1 = log10(min(min(y for _, _, y in points), peak / 4) / 2), log10(peak * 1.6)

    def place(x, y):
        return (left + (right - left) * (min(max(log10(x), x0), x1) - x0) / (x1 - x0),
                bottom - (bottom - top) * (min(max(log10(y), y0), y1) - y0) / (y1 - y0))

    body = list(_grid(place, (x0, x1), (y0, y1), (left, right, top, bottom)))
    knee = peak / port
    start = max(10 ** x0, 10 ** y0 / port)
    roof = [place(start, start * port), place(knee, peak), place(10 ** x1, peak)]
    body.append('<polyline class="roof" points="' + " ".join(f"{x:.1f},{y:.1f}" for x, y in roof) + '"/>')
    body.append(_text(right - 4, roof[1][1] - 7, f"array: {peak:,} MACs a cycle", "roofname", "end"))
    name = f"memory port: {port} bytes a cycle"
    along = place(start * (knee / start) ** 0.4, start * (knee / start) ** 0.4 * port)
    body.append(_text(along[0] + 16, along[1] + 8, name, "roofname"))
    total, named = profile.recording.cycles, {}
    for layer, x, y in sorted(points, key=lambda point: -point[0].cycles):
        px, py = place(x, y)
        radius = 3.5 + 14 * (layer.cycles / total) ** 0.5
        words = (f"{layer.name}\n{y:.1f} MACs a cycle, {100 * y / peak:.1f} % of the array\n"
                 f"{layer.cycles:,} cycles, {layer.macs:,} MACs, {layer.read_bytes + layer.written_bytes:,} bytes")
        body.append(f'<circle cx="{px:.1f}" cy="{py:.1f}" r="{radius:.1f}" class="point"><title>{escape(words)}</title>'
                    "</circle>")
        named.setdefault(alike(layer.name), (px, py, radius))
    # Names keep clear of the roof: a strip along its flat part, small boxes along the slope.
    (sx, sy), (kx, ky), _ = roof
    centers = [(sx + (kx - sx) * t / 20, sy + (ky - sy) * t / 20) for t in range(21)]
    slope = [(x - 4, y - 4, x + 4, y + 4) for x, y in centers]
    port_name = (along[0], along[1] - 6, along[0] + 20 + 6.5 * len(name), along[1] + 12)
    body += _point_labels(named, (left, right, top, bottom), [(kx, ky - 20, right, ky + 2), *slope, port_name])
    body.append(_text((left + right) / 2, height - 8, "MACs for each byte moved between memory and scratchpad", "axisname",
                      "middle"))
    turned = f'transform="translate(14 {(top + bottom) / 2:.0f}) rotate(-90)"'
    body.append(f'<text class="axisname" text-anchor="middle" {turned}>'
                "MACs a cycle</text>")
    return _svg(width, height, body, "Roofline with every layer that has products")


def _grid(place, xs, ys, frame):
    left, right, top, bottom = frame
    for low, high, vertical in ((*xs, True), (*ys, False)):
        decades = range(ceil(low), floor(high) + 1)
        factors = (1,) if len(decades) > 2 else (1, 2, 5)
        for value in (10 ** e * f for e in range(floor(low), floor(high) + 1) for f in factors):
            if not low <= log10(value) <= high:
                continue
            label = f"{value:,.0f}" if value >= 1 else f"{value:g}"
            if vertical:
                x = place(value, 10 ** ys[0])[0]
                yield f'<line x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{bottom}" class="grid"/>'
                yield _text(x, bottom + 16, label, "tick", "middle")
            else:
                y = place(10 ** xs[0], value)[1]
                yield f'<line x1="{left}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" class="grid"/>'
                yield _text(left - 6, y + 4, label, "tick", "end")


def _point_labels(named, frame, taken):
    """Names beside the points, those of the longest layers first, further away where others (``taken``) are in the way."""
    left, right, top, bottom = frame
    taken = list(taken) + [(x - r, y - r, x + r, y + r) for x, y, r in named.values()]
    for name, short in zip(named, short_names(list(named))):
        x, y, radius = named[name]
        # Layers of a block are told apart by what follows the block's number.
        text = short.split("*.", 1)[-1]
        size = 6.2 * len(text)
        near = [(x + radius + 4, y + 4, "start"), (x - radius - 4, y + 4, "end")]
        far = [(x + side * (radius + 18), y + down, "start" if side > 0 else "end")
               for side in (1, -1) for down in range(24, 220, 16)]
        for tx, ty, anchor in near + far:
            begin = tx if anchor == "start" else tx - size
            box = (begin, ty - 11, begin + size, ty + 3)
            inside = box[0] >= left and box[2] <= right and box[1] >= top and box[3] <= bottom
            if inside and all(box[2] < o[0] or box[0] > o[2] or box[3] < o[1] or box[1] > o[3] for o in taken):
                taken.append(box)
                if (tx, ty, anchor) in far:
                    end = tx + (3 if tx < x else -3)
                    yield f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{end:.1f}" y2="{ty - 4:.1f}" class="leader"/>'
                yield _text(tx, ty, text, "label", anchor)
                break
