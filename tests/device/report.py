"""docs/device-test.md: one section for each kind of machine, replaced by each run of its own; the text around them stays."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """What came of one check."""

    title: str
    green: bool
    text: str
    seconds: float


@dataclass(frozen=True)
class Run:
    """One run in one kind of machine (``trixie arm64``)."""

    machine: str
    started: datetime
    took_s: float
    version: str
    image: Path
    rows: tuple[Row, ...]


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
        f"{run.started:%Y-%m-%d %H:%M} UTC, edge_node {run.version}, Python {packages.get('python3', '?')}:",
        f"**{green} of {len(run.rows)} green**, in {run.took_s / 60:.0f} minutes.",
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
