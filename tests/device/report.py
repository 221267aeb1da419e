"""docs/device-test.md: one section for each kind of machine, replaced by each run of its own; the text around them stays."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """What came of one check. ``at``: when it ended, UTC."""

    title: str
    green: bool
    text: str
    seconds: float = 0.0
    at: str = ""


@dataclass(frozen=True)
class Run:
    """What is known of one kind of machine (``trixie arm64``)."""

    machine: str
    version: str
    image: Path
    rows: list[Row]


class Results:
    """The rows so far, kept in a file after each, so that a run that broke off can go on."""

    def __init__(self, path: Path, fresh: bool) -> None:
        self._path = path
        self._rows: dict[str, Row] = {}
        self.figures: dict[str, str] = {}
        if not fresh and path.exists():
            kept = json.loads(path.read_text(encoding="utf-8"))
            self._rows = {row["title"]: Row(**row) for row in kept["rows"]}
            self.figures = kept["figures"]

    def is_green(self, title: str) -> bool:
        """Whether this check was passed already."""
        return title in self._rows and self._rows[title].green

    def add(self, row: Row, figures: Mapping[str, str]) -> None:
        """One more row, or a newer one."""
        self._rows[row.title] = row
        self.figures = dict(figures)
        kept = {"rows": [asdict(r) for r in self._rows.values()], "figures": self.figures}
        self._path.write_text(json.dumps(kept, indent=1), encoding="utf-8")

    def rows(self, order: list[str]) -> list[Row]:
        """The rows there are, in ``order``."""
        return [self._rows[title] for title in order if title in self._rows]


def write(path: Path, run: Run, figures: Mapping[str, str]) -> None:
    """Put the section of this kind of machine into the page."""
    mark, end = f"<!-- {run.machine} -->", f"<!-- end of {run.machine} -->"
    section = "\n".join([mark, *_section(run, figures), end])
    text = path.read_text(encoding="utf-8") if path.exists() else "# The emulated machine\n"
    if mark in text:
        text = re.sub(f"{re.escape(mark)}.*?{re.escape(end)}", lambda _: section, text, flags=re.DOTALL)
    else:
        text = f"{text.rstrip()}\n\n{section}\n"
    path.write_text(text, encoding="utf-8")


def _section(run: Run, figures: Mapping[str, str]) -> list[str]:
    packages = dict(line.split("\t") for line in (run.image / "packages.txt").read_text().splitlines() if "\t" in line)
    green = sum(row.green for row in run.rows)
    lines = [
        f"## {run.machine}",
        "",
        f"{run.rows[0].at} to {run.rows[-1].at} UTC, edge_node {run.version}, Python {packages.get('python3', '?')}:",
        f"**{green} of {len(run.rows)} green**, in {sum(row.seconds for row in run.rows) / 60:.0f} minutes.",
        "",
        "| | check | what was seen | s |",
        "|---|---|---|---|",
    ]
    lines += [f"| {'ok' if r.green else '**RED**'} | {r.title} | {r.text.replace('|', '/')} | {r.seconds:.0f} |" for r in run.rows]
    lines += ["", *(f"- {name}: {text}" for name, text in figures.items() if "\n" not in text and name != "clip frames"), ""]
    for verb in ("setup", "status"):
        if verb in figures:
            lines += [f"What `edge-node {verb}` said:", "", "```", figures[verb], "```", ""]
    return lines
