"""Small plots as inline SVG: no library, no script, no network. Colours come from the page's CSS.

Every function gives markup; numbers and labels that come from data are escaped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from .marks import plain

_WIDTH, _HEIGHT = 340, 150
_LEFT, _RIGHT, _TOP, _BOTTOM = 38, 10, 10, 22


@dataclass(frozen=True, slots=True)
class TrendPoint:
    """A run in a trend: a label for the tooltip, value and interval, and how it stands out."""

    label: str
    value: float
    low: float
    high: float
    failed: bool = False
    accepted: bool = False
    current: bool = False


@dataclass(frozen=True, slots=True)
class Dot:
    """A document in a scatter plot: place, tooltip, and what a click leads to."""

    x: float
    y: float
    label: str
    href: str


def trend(points: Sequence[TrendPoint], name: str) -> Markup:
    """Values over runs, oldest first, with a band for the intervals."""
    ticks = _ticks(min(p.low for p in points), max(p.high for p in points))
    last = max(len(points) - 1, 1)
    frame = _Frame(-0.03 * last, 1.03 * last, ticks[0], ticks[-1])
    xs = [frame.x(i if len(points) > 1 else 0.5) for i in range(len(points))]
    parts = [frame.grid(ticks)]
    upper = [f"{x:.1f},{frame.y(p.high):.1f}" for x, p in zip(xs, points, strict=True)]
    lower = [f"{x:.1f},{frame.y(p.low):.1f}" for x, p in zip(xs, points, strict=True)]
    if len(points) > 1:
        parts.append(_tag("polygon", cls="band", points=" ".join([*upper, *reversed(lower)])))
        line = " ".join(f"{x:.1f},{frame.y(p.value):.1f}" for x, p in zip(xs, points, strict=True))
        parts.append(_tag("polyline", cls="line", points=line))
    for x, point in zip(xs, points, strict=True):
        names = ["dot"] + [n for n in ("failed", "accepted", "current") if getattr(point, n)]
        label = f"{point.label}: {point.value:.2f} ({point.low:.2f} to {point.high:.2f})"
        if len(points) == 1:
            parts.append(
                _tag(
                    "line", cls="whisker", x1=x, x2=x, y1=frame.y(point.low), y2=frame.y(point.high)
                )
            )
        parts.append(
            _tag(
                "circle",
                _title(label),
                cls=" ".join(names),
                cx=x,
                cy=frame.y(point.value),
                r=4 if len(names) > 1 else 2.5,
            )
        )
    start, end = points[0].label[:10], points[-1].label[:10]
    parts.append(frame.under(start if start != end else "", end))
    return _svg(parts, f"{name} over {len(points)} runs")


def histogram(values: Sequence[float], before: Sequence[float] | None, name: str) -> Markup:
    """How many documents have which score; the baseline's as an outline."""
    every = [*values, *(before or ())]
    low, high = min(every), max(every)
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    ticks = _ticks(low, high)
    low, high = ticks[0], ticks[-1]
    bins = 20
    ours = _count(values, low, high, bins)
    theirs = _count(before, low, high, bins) if before else []
    tallest = max([*ours, *theirs, 1])
    frame = _Frame(low, high, 0, tallest)
    parts = [frame.grid(_ticks(0, tallest, whole=True, limit=tallest))]
    step = (high - low) / bins
    for index, count in enumerate(ours):
        if count:
            start = low + index * step
            parts.append(
                _tag(
                    "rect",
                    _title(f"{start:.1f} to {start + step:.1f}: {count} documents"),
                    cls="bar",
                    x=frame.x(start) + 0.5,
                    y=frame.y(count),
                    width=frame.x(start + step) - frame.x(start) - 1,
                    height=frame.y(0) - frame.y(count),
                )
            )
    if theirs:
        steps = []
        for index, count in enumerate(theirs):
            x1, x2 = frame.x(low + index * step), frame.x(low + (index + 1) * step)
            steps += [f"{x1:.1f},{frame.y(count):.1f}", f"{x2:.1f},{frame.y(count):.1f}"]
        parts.append(_tag("polyline", cls="outline", points=" ".join(steps)))
    mean = sum(values) / len(values)
    parts.append(
        _tag(
            "line",
            _title(f"mean {mean:.2f}"),
            cls="mean",
            x1=frame.x(mean),
            x2=frame.x(mean),
            y1=_TOP,
            y2=frame.y(0),
        )
    )
    parts.append(frame.axis(ticks))
    return _svg(parts, f"Distribution of {name} over {len(values)} documents")


def scatter(dots: Sequence[Dot], name: str) -> Markup:
    """Score (up) against length (right)."""
    across = _ticks(min(d.x for d in dots), max(d.x for d in dots))
    up = _ticks(min(d.y for d in dots), max(d.y for d in dots))
    frame = _Frame(across[0], across[-1], up[0], up[-1])
    parts = [frame.grid(up), frame.axis(across)]
    for dot in dots:
        circle = _tag(
            "circle", _title(dot.label), cls="point", cx=frame.x(dot.x), cy=frame.y(dot.y), r=3
        )
        parts.append(Markup('<a href="{}" tabindex="-1">{}</a>').format(dot.href, circle))
    return _svg(parts, f"{name} against length, {len(dots)} documents")


def change_bar(
    difference: float, low: float, high: float, tolerance: float | None, better: str, status: str
) -> Markup:
    """A change with its interval about zero, better to the right, and the tolerance as a tick."""
    sign = -1 if better == "lower" else 1
    difference, low, high = sign * difference, *sorted((sign * low, sign * high))
    reach = max(abs(low), abs(high), abs(difference), tolerance or 0, 1e-9) * 1.15
    width, height, middle = 120, 16, 8

    def x(value: float) -> float:
        return width / 2 + value / reach * (width / 2 - 4)

    parts = [_tag("line", cls="zero", x1=x(0), x2=x(0), y1=0, y2=height)]
    if tolerance is not None:
        parts.append(
            _tag(
                "line",
                _title(f"tolerance {tolerance:g}"),
                cls="tolerance",
                x1=x(-tolerance),
                x2=x(-tolerance),
                y1=1,
                y2=height - 1,
            )
        )
    parts.append(_tag("line", cls="whisker", x1=x(low), x2=x(high), y1=middle, y2=middle))
    parts.append(_tag("circle", cls="dot", cx=x(difference), cy=middle, r=3.5))
    label = f"change with its 95 % interval, better to the right: {status}"
    return Markup(
        '<svg class="change {}" viewBox="0 0 {} {}" width="{}" height="{}" role="img" '
        'aria-label="{}">{}</svg>'
    ).format(status, width, height, width, height, label, Markup("").join(parts))


class _Frame:
    """Data coordinates to the drawing's, and the lines and labels around it."""

    def __init__(self, left: float, right: float, bottom: float, top: float) -> None:
        self._left, self._right = left, right if right > left else left + 1
        self._bottom, self._top = bottom, top if top > bottom else bottom + 1

    def x(self, value: float) -> float:
        share = (value - self._left) / (self._right - self._left)
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        share = (value - self._bottom) / (self._top - self._bottom)
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)

    def grid(self, ticks: Sequence[float]) -> Markup:
        """Horizontal lines with their values."""
        parts = []
        for tick in ticks:
            y = self.y(tick)
            parts.append(_tag("line", cls="grid", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y, y2=y))
            parts.append(_text(f"{tick:g}", _LEFT - 5, y + 3.5, "end"))
        return Markup("").join(parts)

    def axis(self, ticks: Sequence[float]) -> Markup:
        """Values along the bottom."""
        return Markup("").join(
            _text(f"{tick:g}", self.x(tick), _HEIGHT - 6, "middle") for tick in ticks
        )

    def under(self, first: str, last: str) -> Markup:
        """Labels at the two ends of the bottom."""
        return _text(first, _LEFT, _HEIGHT - 6, "start") + _text(
            last, _WIDTH - _RIGHT, _HEIGHT - 6, "end"
        )


def _ticks(
    low: float, high: float, *, whole: bool = False, limit: float | None = None
) -> list[float]:
    """Three to six round numbers around a range; not past `limit`."""
    span = high - low or abs(high) or 1.0
    raw = span / 4
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= raw - 1e-12)
    if whole:
        step = max(1.0, float(round(step)))
    start, end = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [round(index * step, 10) for index in range(start, end + 1)]
    if limit is not None:
        ticks = [tick for tick in ticks if tick <= limit]
    return ticks if len(ticks) > 1 else [ticks[0], ticks[0] + step]


def _count(values: Sequence[float], low: float, high: float, bins: int) -> list[int]:
    counts = [0] * bins
    for value in values:
        counts[min(bins - 1, int((value - low) / (high - low) * bins))] += 1
    return counts


def _tag(
    element: str, inside: Markup = Markup(""), *, cls: str, **attributes: float | str
) -> Markup:
    written = Markup("").join(
        Markup(' {}="{}"').format(k, f"{v:.1f}" if isinstance(v, float) else v)
        for k, v in attributes.items()
    )
    return Markup('<{} class="{}"{}>{}</{}>').format(
        Markup(element), cls, written, inside, Markup(element)
    )


def _text(text: str, x: float, y: float, anchor: str) -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(
        x, y, anchor, plain(text)
    )


def _title(text: str) -> Markup:
    return Markup("<title>{}</title>").format(plain(text))


def _svg(parts: Sequence[Markup], label: str) -> Markup:
    return Markup(
        '<svg class="plot" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>'
    ).format(_WIDTH, _HEIGHT, plain(label), Markup("").join(parts))
