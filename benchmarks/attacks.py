"""`python -m benchmarks.attacks [NAME …] [--quick | --page]`: runs plans/attacks/ and writes docs/attacks.md.

The page is a function of the records alone. Data come from the folder CERTUNLEARN_DATA.
"""

import argparse
import os
import re
import time
from pathlib import Path

from unlearning.record import read_record

from .attack_page import PAGE, write
from .papers import audit, words

PLANS, OUT = Path("plans/attacks"), Path("out/attacks")
QUICK = 8  # shadow and target runs of every row


def quick(plan: Path, folder: Path) -> Path:
    """The plan with few runs, beside which its code is still found: to see that everything runs."""
    text = re.sub(r"(?m)^(shadows|targets) = \d+$", rf"\1 = {QUICK}", plan.read_text(encoding="utf-8"))
    text = text.replace('"../papers/', f'"{Path("plans/papers").resolve()}/')
    folder.mkdir(parents=True, exist_ok=True)
    small = folder / plan.name
    small.write_text(text, encoding="utf-8")
    return small


def main() -> int:
    """Run the plans named, or all, and write the page from all records that there are; the largest exit status."""
    known = {plan.stem: plan for plan in sorted(PLANS.glob("*.toml"))}
    parser = argparse.ArgumentParser(prog="python -m benchmarks.attacks")
    parser.add_argument("names", nargs="*", help=f"of: {', '.join(known)}; none: all")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--quick", action="store_true", help=f"{QUICK} runs a row; the page goes beside the records")
    how.add_argument("--page", action="store_true", help="run nothing, write the page from the records of the last run")
    arguments = parser.parse_args()
    chosen = arguments.names or list(known)
    if not set(chosen) <= set(known):
        parser.error(f"names must be among {', '.join(known)}, got {', '.join(sorted(set(chosen) - set(known)))}.")
    if not arguments.page and "CERTUNLEARN_DATA" not in os.environ:
        parser.error("CERTUNLEARN_DATA must name the folder of the data, got none.")
    out = OUT / "quick" if arguments.quick else OUT
    statuses = {}
    for name in () if arguments.page else chosen:
        started = time.perf_counter()
        plan = quick(known[name], out) if arguments.quick else known[name]
        statuses[name] = audit(plan, out / name)
        print(f"{name}: exit status {statuses[name]}, {time.perf_counter() - started:.0f} s", flush=True)
    made = {name: out / name / "record.json" for name in known}
    records = {name: read_record(path) for name, path in made.items() if path.exists()}
    if records:
        write(records, {name: words(known[name]) for name in records}, out / PAGE.name if arguments.quick else PAGE)
    return max(statuses.values(), default=0)


if __name__ == "__main__":
    raise SystemExit(main())
