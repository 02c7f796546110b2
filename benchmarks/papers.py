"""`python -m benchmarks.papers [NAME …]`: runs the plans under plans/papers/ and writes their pages, docs/papers/.

Each page is the report's comparison as Markdown, with the plan's own words (its first comment) on top, so that no
number in it is typed. Data that a plan names come from the folder CERTUNLEARN_DATA.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from reports import write_markdown
from unlearning.record import read_record

PLANS, PAGES, OUT = Path("plans/papers"), Path("docs/papers"), Path("out/papers")


def words(plan: Path) -> str:
    """The comment at the head of a plan, as one paragraph."""
    lines = []
    for line in plan.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# "))
    return " ".join(lines)


def run(plan: Path) -> int:
    """Audit a plan and write its page; the exit status of the audit."""
    out = OUT / plan.stem
    # the project's own plans: the code they name is the project's own
    command = [sys.executable, "-m", "certunlearn", "audit", str(plan), "--out", str(out), "--fresh", "--trust"]
    status = subprocess.run(command, check=False).returncode
    if status in (0, 1, 3):
        page, *_ = write_markdown(read_record(out / "record.json"), PAGES / f"{plan.stem}.md")
        title, rest = page.read_text(encoding="utf-8").split("\n", 1)
        page.write_text(f"{title}\n\n{words(plan)}\n{rest}", encoding="utf-8")
    return status


def main() -> int:
    """Run the plans named, or all; 0 where every row came out as its plan expects."""
    known = sorted(PLANS.glob("*.toml"))
    parser = argparse.ArgumentParser(prog="python -m benchmarks.papers")
    parser.add_argument("names", nargs="*", help=f"of: {', '.join(plan.stem for plan in known)}; none: all")
    chosen = parser.parse_args().names
    unknown = set(chosen) - {plan.stem for plan in known}
    if unknown:
        parser.error(f"names must be among {', '.join(p.stem for p in known)}, got {', '.join(sorted(unknown))}.")
    statuses = {}
    for plan in known:
        if chosen and plan.stem not in chosen:
            continue
        started = time.perf_counter()
        statuses[plan.stem] = run(plan)
        print(f"{plan.stem}: exit status {statuses[plan.stem]}, {time.perf_counter() - started:.0f} s")
    return max(statuses.values(), default=0)


if __name__ == "__main__":
    raise SystemExit(main())
