"""Charts as inline SVG: a few lines of text whose colours follow the page, light or dark. Nothing in them is random."""

from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

WIDTH, HEIGHT = 480, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 14, 46

Range = tuple[float, float]


class Dot(NamedTuple):
    """One point with its interval, if it has one, and what it says when pointed at."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    tip: str = ""


class Series(NamedTuple):
    """Points of one kind, in order."""

    name: str
    dots: Sequence[Dot]
    joined: bool = True

    @property
    def banded(self) -> bool:
        """Whether intervals are drawn as a band: one point has none, but a whisker as well."""
        return self.joined and len(self.dots) > 1


class _Axes(NamedTuple):
    """From values to places in the picture."""

    x: Callable[[float], float]
    y: Callable[[float], float]
    frame: str


def lines(series: Sequence[Series], xlabel: str, ylabel: str, *, level: float | None = None) -> str:
    """Draw lines with bands, and whiskers on what is not joined; ``level`` is a height to compare with."""
    dots = [dot for some in series for dot in some.dots]
    heights = [v for d in dots for v in (d.y, d.low, d.high) if v is not None]
    axes = _axes(
        _around([d.x for d in dots]), _around(heights if level is None else [*heights, level]), xlabel, ylabel
    )
    parts = [axes.frame]
    if level is not None:
        y = axes.y(level)
        parts.append(f'<line class="guide" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
    for number, some in enumerate(series, start=1):
        drawn = _curve(some, axes) if some.banded else _whiskers(some, axes)
        aside = 0 if some.joined else 8 * number - 20  # so that whiskers at one place stand beside each other
        circles = "".join(_circle(dot, axes) for dot in some.dots)
        parts.append(f'<g class="s{number}" transform="translate({aside})">{drawn}{circles}</g>')
    return _picture(parts, f"{ylabel} against {xlabel}") + _legend([s.name for s in series])


def scatter(x: Sequence[float], y: Sequence[float], xlabel: str, ylabel: str) -> str:
    """Draw one small dot for each pair."""
    axes = _axes(_around(x), _around(y), xlabel, ylabel)
    dots = "".join(
        f'<circle cx="{axes.x(a):.1f}" cy="{axes.y(b):.1f}" r="2"/>' for a, b in zip(x, y, strict=True)
    )
    return _picture([axes.frame, f'<g class="s1 cloud">{dots}</g>'], f"{ylabel} against {xlabel}")


def shares(bars: Sequence[tuple[float, float, float, int]], xlabel: str, ylabel: str) -> str:
    """Draw bars of (from, to, height, how many), all within 0 and 1, and the diagonal that they should reach."""
    axes = _axes((0.0, 1.0), (0.0, 1.0), xlabel, ylabel)
    drawn = "".join(
        f'<rect x="{axes.x(left) + 1:.1f}" y="{axes.y(height):.1f}" width="{axes.x(right) - axes.x(left) - 2:.1f}" '
        f'height="{axes.y(0) - axes.y(height):.1f}"/>'
        for left, right, height, _ in bars
    )
    counts = "".join(
        f'<text class="count" x="{axes.x((left + right) / 2):.1f}" y="{axes.y(height) + (14 if height > 0.1 else -5):.1f}" '
        f'text-anchor="middle">{n:,}</text>'
        for left, right, height, n in bars
    )
    ideal = f'<line class="guide" x1="{axes.x(0)}" y1="{axes.y(0)}" x2="{axes.x(1)}" y2="{axes.y(1)}"/>'
    return _picture(
        [axes.frame, f'<g class="s1 bars">{drawn}</g>', ideal, counts], f"{ylabel} against {xlabel}"
    )


def _curve(some: Series, axes: _Axes) -> str:
    """Draw the line through the points, over the band of their intervals."""
    path = " ".join(f"{axes.x(d.x):.1f},{axes.y(d.y):.1f}" for d in some.dots)
    upper = [(d.x, d.high) for d in some.dots if d.high is not None]
    lower = [(d.x, d.low) for d in reversed(some.dots) if d.low is not None]
    band = " ".join(f"{axes.x(x):.1f},{axes.y(y):.1f}" for x, y in [*upper, *lower])
    return (f'<polygon class="band" points="{band}"/>' if band else "") + f'<polyline points="{path}"/>'


def _whiskers(some: Series, axes: _Axes) -> str:
    return "".join(
        f'<line x1="{axes.x(d.x):.1f}" x2="{axes.x(d.x):.1f}" y1="{axes.y(d.low):.1f}" y2="{axes.y(d.high):.1f}"/>'
        for d in some.dots
        if d.low is not None and d.high is not None
    )


def _circle(dot: Dot, axes: _Axes) -> str:
    place = f'cx="{axes.x(dot.x):.1f}" cy="{axes.y(dot.y):.1f}" r="3.5"'
    return f"<circle {place}><title>{escape(dot.tip)}</title></circle>"


def _around(values: Sequence[float]) -> Range:
    """Return the range of the values with a little room; never an empty one."""
    low, high = min(values), max(values)
    room = (high - low) * 0.05 or abs(high) * 0.1 or 1.0
    return low - room, high + room


def _axes(x: Range, y: Range, xlabel: str, ylabel: str) -> _Axes:
    """Return the scales, and the frame with ticks and names."""
    from matplotlib.ticker import MaxNLocator

    def scale(span: Range, start: float, end: float) -> Callable[[float], float]:
        return lambda value: start + (value - span[0]) / (span[1] - span[0]) * (end - start)

    def ticks(span: Range) -> list[float]:
        values = MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]).tick_values(*span)
        return [float(value) for value in values if span[0] <= value <= span[1]]

    across, up = scale(x, _LEFT, WIDTH - _RIGHT), scale(y, HEIGHT - _BOTTOM, _TOP)
    parts = []
    for value in ticks(y):
        place = f"{up(value):.1f}"
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{place}" y2="{place}"/>')
        parts.append(
            f'<text x="{_LEFT - 6}" y="{place}" dy="0.35em" text-anchor="end">{_number(value)}</text>'
        )
    parts += [
        f'<text x="{across(value):.1f}" y="{HEIGHT - _BOTTOM + 17}" text-anchor="middle">{_number(value)}</text>'
        for value in ticks(x)
    ]
    middle = (_TOP + HEIGHT - _BOTTOM) / 2
    parts += [
        f'<text x="{(_LEFT + WIDTH - _RIGHT) / 2}" y="{HEIGHT - 8}" text-anchor="middle">{escape(xlabel)}</text>',
        f'<text transform="translate(13 {middle}) rotate(-90)" text-anchor="middle">{escape(ylabel)}</text>',
    ]
    return _Axes(across, up, "".join(parts))


def _number(value: float) -> str:
    rounded = round(value, 10)
    return f"{int(rounded):,}" if rounded == int(rounded) else f"{rounded:g}"


def _picture(parts: Sequence[str], name: str) -> str:
    head = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(name)}">'
    return f"{head}{''.join(parts)}</svg>"


def _legend(names: Sequence[str]) -> str:
    if len(names) < 2:
        return ""
    keys = "".join(f'<li><i class="s{n}"></i>{escape(name)}</li>' for n, name in enumerate(names, start=1))
    return f'<ul class="legend">{keys}</ul>'
