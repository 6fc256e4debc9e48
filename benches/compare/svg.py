"""Line charts as SVG, by hand: a program that draws would be a dependency."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from html import escape

WIDTH, HEIGHT = 720, 440
LEFT, RIGHT, TOP, BOTTOM = 78, 24, 86, 82

# Told apart by colour, by the shape of the points and by the dashes of the line.
STYLES = [
    ("#2a6fd6", "#6ea8fe", "circle", ""),
    ("#c2500c", "#ff9a5c", "square", "7 4"),
    ("#0d7d5a", "#4fc9a0", "diamond", "2 3"),
    ("#8a3fc4", "#c792ea", "triangle", "9 3 2 3"),
]

# Light and dark. The chart brings its own background, so it can be read on any page, a dark one where the reader
# prefers that. The light colours are attributes and need no style sheet, which some viewers do not understand.
COLOURS = {
    "back": ("fill", "#ffffff", "#161b22"),
    "text": ("fill", "#24292f", "#e6edf3"),
    "faint": ("fill", "#57606a", "#9da7b1"),
    "grid": ("stroke", "#d0d7de", "#30363d"),
    "axis": ("stroke", "#57606a", "#9da7b1"),
}


@dataclass(frozen=True)
class Point:
    """A median with its spread."""

    x: float
    y: float
    least: float
    most: float


@dataclass
class Series:
    """One router's points."""

    name: str
    points: list[Point] = field(default_factory=list)


@dataclass(frozen=True)
class Axis:
    """What an axis shows."""

    label: str
    log: bool = False
    # Where there are marks, with their texts; chosen by the values if empty.
    ticks: tuple[tuple[float, str], ...] = ()


@dataclass
class Chart:
    """A chart before it is drawn."""

    title: str
    x: Axis
    y: Axis
    series: list[Series]
    source: str

    def draw(self) -> str:
        """The SVG file."""
        points = [point for series in self.series for point in series.points]
        if not points:
            raise ValueError(f"nothing to draw: {self.title}")
        across = _Scale.of(self.x, [point.x for point in points], LEFT + 14, WIDTH - RIGHT - 14)
        heights = [height for point in points for height in (point.least, point.most)]
        up = _Scale.of(self.y, heights, HEIGHT - BOTTOM, TOP)
        parts = [self._head(), *self._grid(across, up)]
        for number, series in enumerate(self.series):
            parts += _series(number, series, across, up)
        parts += self._legend()
        return "\n".join([*parts, "</svg>"]) + "\n"

    def _head(self) -> str:
        rules = [f".{kind}{{{what}:{dark}}}" for kind, (what, _, dark) in COLOURS.items()]
        for number, (_, dark, _, _) in enumerate(STYLES):
            rules.append(f".line{number}{{stroke:{dark}}}.mark{number}{{fill:{dark}}}")
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
                f'height="{HEIGHT}" role="img" font-family="system-ui, sans-serif" font-size="13">',
                f"<title>{escape(self.title)}</title>",
                f"<style>@media(prefers-color-scheme:dark){{{''.join(rules)}}}</style>",
                f'<rect {_colour("back")} width="{WIDTH}" height="{HEIGHT}" rx="6"/>',
                _text(LEFT, 28, self.title, "text", size=16, weight="600"),
            ]
        )

    def _grid(self, across: _Scale, up: _Scale) -> list[str]:
        bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
        parts = []
        for value, label in up.ticks:
            y = up.at(value)
            parts.append(_line(LEFT, y, right, y, "grid"))
            parts.append(_text(LEFT - 8, y + 4, label, "faint", anchor="end"))
        for value, label in across.ticks:
            x = across.at(value)
            parts.append(_line(x, bottom, x, bottom + 5, "axis"))
            parts.append(_text(x, bottom + 20, label, "faint", anchor="middle"))
        middle = (TOP + bottom) / 2
        parts += [
            _line(LEFT, bottom, right, bottom, "axis"),
            _text((LEFT + right) / 2, bottom + 42, self.x.label, "text", anchor="middle"),
            f'<text {_colour("text")} text-anchor="middle" transform="translate(20 {middle:.0f}) rotate(-90)">'
            f"{escape(self.y.label)}</text>",
            _text(LEFT, HEIGHT - 12, self.source, "faint", size=11),
        ]
        return parts

    def _legend(self) -> list[str]:
        parts, x = [], float(LEFT)
        for number, series in enumerate(self.series):
            parts += [_path(number, f"M{x:.0f} 54h28"), _mark(number, x + 14, 54)]
            parts.append(_text(x + 36, 58, series.name, "text"))
            x += 36 + 8 * len(series.name) + 28
        return parts


@dataclass(frozen=True)
class _Scale:
    """From values to places."""

    low: float
    high: float
    begin: float
    end: float
    log: bool
    ticks: list[tuple[float, str]]

    @staticmethod
    def of(axis: Axis, values: list[float], begin: float, end: float) -> _Scale:
        if axis.log:
            values = [value for value in values if value > 0] or [1.0]
        low, high = min(values), max(values)
        if axis.ticks:
            places = [value for value, _ in axis.ticks]
            return _Scale(min(low, *places), max(high, *places), begin, end, axis.log, list(axis.ticks))
        steps = _log_steps(low, high) if axis.log else _linear_steps(high)
        return _Scale(steps[0], steps[-1], begin, end, axis.log, [(step, short(step)) for step in steps])

    def at(self, value: float) -> float:
        low, high = self.low, self.high
        if self.log:
            # Nothing is zero in a logarithm; what is belongs at the bottom.
            low, high, value = math.log(low), math.log(high), math.log(max(value, self.low))
        share = (value - low) / (high - low) if high > low else 0.5
        return self.begin + share * (self.end - self.begin)


def short(value: float) -> str:
    """A number for an axis."""
    for limit, unit in ((1e6, " M"), (1e3, " k")):
        if abs(value) >= limit:
            return f"{value / limit:g}{unit}"
    return f"{value:g}"


def _linear_steps(high: float) -> list[float]:
    """From zero in four to six even steps to at least the highest value."""
    if high <= 0:
        return [0.0, 1.0]
    power = 10 ** math.floor(math.log10(high / 5))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power * 5.5 >= high)
    return [step * number for number in range(math.ceil(high / step - 1e-9) + 1)]


def _log_steps(low: float, high: float) -> list[float]:
    """The numbers 1, 2 and 5 with their powers around the values; only powers of ten if there would be many."""
    begin, end = math.floor(math.log10(low)), math.ceil(math.log10(high * 1.0001))
    factors = (1, 2, 5) if end - begin <= 3 else (1,)
    steps = [factor * 10.0**power for power in range(begin, end + 1) for factor in factors]
    first = max((number for number, step in enumerate(steps) if step <= low), default=0)
    last = next((number for number, step in enumerate(steps) if step >= high), len(steps) - 1)
    return steps[first : max(last, first + 1) + 1]


def _colour(kind: str) -> str:
    what, light, _ = COLOURS[kind]
    return f'class="{kind}" {what}="{light}"'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line {_colour(kind)} x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, kind: str, anchor: str = "start", size: int = 13, weight: str = "400") -> str:
    return (
        f'<text {_colour(kind)} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" '
        f'font-weight="{weight}">{escape(text)}</text>'
    )


def _path(number: int, path: str, width: int = 2, dashed: bool = True) -> str:
    number %= len(STYLES)
    light, _, _, dashes = STYLES[number]
    dash = f' stroke-dasharray="{dashes}"' if dashes and dashed else ""
    return f'<path class="line{number}" fill="none" stroke="{light}" stroke-width="{width}"{dash} d="{path}"/>'


def _mark(number: int, x: float, y: float, words: str = "") -> str:
    number %= len(STYLES)
    light, _, shape, _ = STYLES[number]
    colour = f'class="mark{number}" fill="{light}"'
    title = f"<title>{escape(words)}</title>" if words else ""
    if shape == "circle":
        return f'<circle {colour} cx="{x:.1f}" cy="{y:.1f}" r="4.5">{title}</circle>'
    outlines = {"square": "m-4 -4h8v8h-8z", "diamond": "m0 -5.5l5.5 5.5l-5.5 5.5l-5.5 -5.5z"}
    outline = outlines.get(shape, "m0 -5.5l5.5 10h-11z")
    return f'<path {colour} d="M{x:.1f} {y:.1f}{outline}">{title}</path>'


def _series(number: int, series: Series, across: _Scale, up: _Scale) -> list[str]:
    points = sorted(series.points, key=lambda point: point.x)
    places = [(across.at(point.x), up.at(point.y)) for point in points]
    parts = []
    if len(places) > 1:
        parts.append(_path(number, "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)))
    for point, (x, y) in zip(points, places):
        if point.most > point.least:
            top, bottom = up.at(point.most), up.at(point.least)
            parts.append(_path(number, f"M{x - 4:.1f} {top:.1f}h8m-4 0V{bottom:.1f}m-4 0h8", 1, dashed=False))
        words = f"{series.name}: {point.y:.4g} ({point.least:.4g} to {point.most:.4g})"
        parts.append(_mark(number, x, y, words))
    return parts
