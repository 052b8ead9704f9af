"""Which objective is made of which pieces: a picture and a table, from the imports of the sources."""

from __future__ import annotations

import ast
import math
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path

from commands import table
from counterpoint.methods.fit import kinds

HOME = Path(__file__).resolve().parents[1] / "core" / "src" / "counterpoint" / "objectives"
PACKAGE = "counterpoint.objectives"
KERNEL = "kernel"
COMMON = 10
"""A module that imports none of the others and is imported by so many is no piece of any one objective."""
WIDE, HIGH, ACROSS, DOWN, LEFT, TOP = 116, 26, 148, 36, 12, 50
COLORS = {"objective": "#5558e8", "piece": "#475569", "kernel": "#0d9488"}
STYLE = (
    'text{font:11.5px system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",Helvetica,Arial,sans-serif}'
    ".name{fill:#fff;text-anchor:middle}.told{fill:#7687a0}.edge{fill:none;stroke:#8492a6;stroke-width:1.4;opacity:.75}"
)
Graph = dict[str, set[str]]


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports() -> Graph:
    """Module -> modules of the package that it imports."""
    paths = {path.stem: path for path in sorted(HOME.glob("*.py")) if path.stem != "__init__"}
    found: Graph = {name: set() for name in paths}
    for name, path in paths.items():
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.ImportFrom) and node.module == PACKAGE:
                found[name] |= {alias.name for alias in node.names} & paths.keys()
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{PACKAGE}."):
                found[name].add(str(node.module).removeprefix(f"{PACKAGE}."))
    return found


def reach(graph: Graph, name: str) -> set[str]:
    """What ``name`` needs, directly or not."""
    found: set[str] = set()
    ahead = [name]
    while ahead:
        new = graph[ahead.pop()] - found
        found |= new
        ahead += new
    return found


def common(graph: Graph) -> list[str]:
    """Modules that nearly all import."""
    return [name for name in graph if not graph[name] and sum(name in used for used in graph.values()) >= COMMON]


def pieces() -> Graph:
    """The imports without what nearly all import, the kernel's files as one, and no arrow that others imply."""
    graph = imports()
    everyone = set(common(graph))
    inside = reach(graph, KERNEL) - everyone
    kept = {name: {KERNEL if u in inside else u for u in used - everyone} for name, used in graph.items()}
    kept = {name: used - {name} for name, used in kept.items() if name not in everyone | inside}
    return {n: {u for u in used if not any(u in reach(kept, o) for o in used - {u})} for n, used in kept.items()}


def objectives() -> dict[str, str]:
    """Module -> the objective that it holds."""
    return {kind.__module__.removeprefix(f"{PACKAGE}."): kind.__name__ for kind in kinds()}


def ranks(graph: Graph) -> dict[str, int]:
    """Column of each module: right of what it is made of; a piece stands next to what needs it."""
    rank: dict[str, int] = {}
    while len(rank) < len(graph):
        for name, used in graph.items():
            if name not in rank and used <= rank.keys():
                rank[name] = 1 + max((rank[u] for u in used), default=-1)
    for name in sorted(graph, key=lambda n: -rank[n]):
        users = [rank[n] for n, used in graph.items() if name in used]
        if users and name != KERNEL:
            rank[name] = min(users) - 1
    return rank


def routed(graph: Graph, rank: dict[str, int]) -> Graph:
    """The graph with a place for each arrow in every column that it crosses; ``rank`` learns of them."""
    found: Graph = {name: set() for name in graph}
    for name in sorted(graph):
        for used in sorted(graph[name]):
            before = used
            for place in range(rank[used] + 1, rank[name]):
                through = f"{used} {place}"
                found.setdefault(through, set()).add(before)
                rank[through] = place
                before = through
            found[name].add(before)
    return found


def ordered(graph: Graph, rank: dict[str, int]) -> list[list[str]]:
    """The columns, each in the order in which the fewest arrows cross: near what is joined."""
    users = {name: {n for n, used in graph.items() if name in used} for name in graph}
    linked = [name for name in graph if graph[name] or users[name]]
    columns = [[n for n in linked if rank[n] == place] for place in range(max(rank.values()) + 1)]
    for _ in range(8):
        for beside in (graph, users):
            at = {name: (row + 0.5) / len(column) for column in columns for row, name in enumerate(column)}
            # fsum: a set's order must not decide a tie
            order = {n: math.fsum(at[o] for o in beside[n]) / len(beside[n]) if beside[n] else at[n] for n in at}
            columns = [sorted(column, key=lambda n: (order[n], n)) for column in columns]
    return columns


@dataclass(frozen=True, slots=True)
class Box:
    """A module's place."""

    name: str
    label: str
    kind: str
    x: float
    y: float

    def svg(self) -> str:
        """The box, with what it is for those who point at it; of an arrow on its way, the line."""
        if self.kind == "way":
            return f'<path class="edge" d="M{self.x:g} {self.y + HIGH / 2:g}h{WIDE}"/>'
        told = escape(summary(self.name))
        box = f'<rect x="{self.x:g}" y="{self.y:g}" width="{WIDE}" height="{HIGH}" rx="7" fill="{COLORS[self.kind]}"/>'
        text = f'<text class="name" x="{self.x + WIDE / 2:g}" y="{self.y + 17:g}">{escape(self.label)}</text>'
        return f"<g><title>{told}</title>{box}{text}</g>"


def summary(name: str) -> str:
    """First line of the module's docstring."""
    return (ast.get_docstring(_tree(HOME / f"{name}.py")) or "").partition("\n")[0]


def picture() -> str:
    """The pieces as an SVG: what is further right is made of what is left of it."""
    made, named = pieces(), objectives()
    rank = ranks(made)
    graph = routed(made, rank)
    columns = ordered(graph, rank)
    height = TOP + max(map(len, columns)) * DOWN + 8
    width = LEFT + (len(columns) - 1) * ACROSS + WIDE + LEFT
    boxes = {}
    for place, column in enumerate(columns):
        free = (height - TOP - len(column) * DOWN) / (len(column) + 1)
        for row, name in enumerate(column):
            kind = "kernel" if name == KERNEL else "objective" if name in named else "piece" if name in made else "way"
            y = TOP + free * (row + 1) + DOWN * row
            boxes[name] = Box(name, named.get(name, name.strip("_")), kind, LEFT + place * ACROSS, round(y, 1))
    edges = [_edge(boxes[used], boxes[name]) for name in boxes for used in sorted(graph[name])]
    title = "Objectives and the pieces that they are made of"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height:g}" role="img" aria-labelledby="t">'
    lines = [head, f'<title id="t">{title}</title>', f"<style>{STYLE}</style>", *_legend(), *edges]
    return "\n".join([*lines, *(box.svg() for box in boxes.values()), "</svg>\n"])


def _edge(used: Box, user: Box) -> str:
    x1, y1, x2, y2 = used.x + WIDE, used.y + HIGH / 2, user.x, user.y + HIGH / 2
    bend = (x2 - x1) / 2
    path = f"M{x1:g} {y1:g}C{x1 + bend:g} {y1:g} {x2 - bend:g} {y2:g} {x2:g} {y2:g}"
    return f'<path class="edge" d="{path}"/>'


def _legend() -> list[str]:
    parts, x = [], LEFT
    for kind, told in (("kernel", "the kernel"), ("piece", "shared pieces"), ("objective", "objectives")):
        parts.append(f'<rect x="{x}" y="14" width="14" height="14" rx="4" fill="{COLORS[kind]}"/>')
        parts.append(f'<text class="told" x="{x + 20}" y="25.5">{told}</text>')
        x += 130
    parts.append(f'<text class="told" x="{x}" y="25.5">what stands right is made of what stands left of it</text>')
    return parts


def shared() -> str:
    """The pieces, what they are, and the objectives that need them, directly or by another piece."""
    graph, named = pieces(), objectives()
    rows = []
    for name in graph:
        users = sorted(label for module, label in named.items() if name in reach(graph, module))
        if name not in named and users:
            rows.append((-len(users), [f"`{name}`", summary(name).rstrip("."), f"{len(users)}: {', '.join(users)}"]))
    everyone = ", ".join(f"`{name}`" for name in common(imports()))
    alone = ", ".join(label for module, label in sorted(named.items()) if not graph[module])
    told = f"Left out, since nearly all of them import it: {everyone}. Made of nothing else: {alone}."
    return f"{table(['piece', 'what it is', 'needed by'], [row for _, row in sorted(rows)])}\n\n{told}"
