"""`python -m benchmarks.papers [NAME …]`: runs the plans under plans/papers/ and writes their pages, docs/papers/.

Each page is the report's comparison as Markdown, with the plan's own words (its first comment) on top, so that no
number in it is typed. Data that a plan names come from the folder CERTUNLEARN_DATA.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from reports import write_markdown
from unlearning.record import read_record

from . import studies

PLANS, PAGES, OUT = Path("plans/papers"), Path("docs/papers"), Path("out/papers")


def words(plan: Path) -> str:
    """The comment at the head of a plan, as one paragraph."""
    lines = []
    for line in plan.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# "))
    return " ".join(lines)


def audit(plan: Path, out: Path) -> int:
    """Audit one of the project's own plans, whose code is the project's own; the exit status."""
    command = [sys.executable, "-m", "certunlearn", "audit", str(plan), "--out", str(out), "--fresh", "--trust"]
    return subprocess.run(command, check=False).returncode


def run(plan: Path) -> int:
    """Audit a plan and write its page; the exit status of the audit."""
    status = audit(plan, OUT / plan.stem)
    if status in (0, 1, 3):
        write_page(plan)
    return status


def write_page(plan: Path) -> None:
    """Write the page of a plan from the record of its last run."""
    page, *_ = write_markdown(read_record(OUT / plan.stem / "record.json"), PAGES / f"{plan.stem}.md")
    title, rest = page.read_text(encoding="utf-8").split("\n", 1)
    page.write_text(f"{title}\n\n{words(plan)}\n{rest}", encoding="utf-8")


def main() -> int:
    """Run the plans named, or all; 0 where every row came out as its plan expects."""
    known = {plan.stem: plan for plan in sorted(PLANS.glob("*.toml"))}
    names = [*known, studies.PAGE]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.papers")
    parser.add_argument("names", nargs="*", help=f"of: {', '.join(names)}; none: all")
    chosen = parser.parse_args().names or names
    data = os.environ.get("CERTUNLEARN_DATA")
    if not set(chosen) <= set(names):
        parser.error(f"names must be among {', '.join(names)}, got {', '.join(sorted(set(chosen) - set(names)))}.")
    if data is None:
        parser.error("CERTUNLEARN_DATA must name the folder of the data, got none.")
    statuses = {}
    for name in chosen:
        started = time.perf_counter()
        if name == studies.PAGE:
            studies.write(Path(data), PAGES)
            statuses[name] = 0
        else:
            statuses[name] = run(known[name])
        print(f"{name}: exit status {statuses[name]}, {time.perf_counter() - started:.0f} s")
    return max(statuses.values(), default=0)


if __name__ == "__main__":
    raise SystemExit(main())
