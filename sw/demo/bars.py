"""Groups of bars as a picture in SVG that needs nothing but a browser."""

from html import escape

__all__ = ["bars"]

_COLOURS = ("#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951", "#9498a0")
_PANEL, _GAP, _HEIGHT, _TOP, _LEFT = 300, 36, 220, 56, 16


def bars(names, panels):
    """An SVG document: for each ``{title: numbers}`` of ``panels`` a bar for every one of ``names``, from 0 on, in its colour."""
    width = _LEFT + len(panels) * (_PANEL + _GAP)
    rows = -(-len(names) // 4)
    body = []
    for number, (title, values) in enumerate(panels.items()):
        left, step = _LEFT + number * (_PANEL + _GAP), _PANEL / len(names)
        body.append(_text(left, 24, title, 15, "start"))
        for place, value in enumerate(values):
            height = _HEIGHT * value / (max(values) or 1)
            x, y = left + place * step, _TOP + _HEIGHT - height
            body.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{step - 10:.1f}" height="{height:.1f}" '
                        f'fill="{_COLOURS[place % len(_COLOURS)]}"/>')
            shown = f"{value:,}" if isinstance(value, int) else f"{value:.1f}"
            body.append(_text(x + (step - 10) / 2, y - 5, shown, 12, "middle"))
        body.append(f'<line x1="{left}" x2="{left + _PANEL - 10}" y1="{_TOP + _HEIGHT}" y2="{_TOP + _HEIGHT}" stroke="#444"/>')
    for place, name in enumerate(names):
        x, y = _LEFT + place % 4 * 240, _TOP + _HEIGHT + 34 + place // 4 * 22
        body.append(f'<rect x="{x}" y="{y - 11}" width="12" height="12" fill="{_COLOURS[place % len(_COLOURS)]}"/>')
        body.append(_text(x + 18, y, name, 13, "start"))
    height = _TOP + _HEIGHT + 28 + 22 * rows
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            f'font-family="sans-serif"><rect width="100%" height="100%" fill="#fff"/>{"".join(body)}</svg>\n')


def _text(x, y, text, size, anchor):
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="#222">{escape(text)}</text>'
