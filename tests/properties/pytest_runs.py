"""Pytest in a process of its own, as a user starts it."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(*arguments: str, folder: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run it in a folder, with nothing of this process's settings."""
    theirs = ("PYTEST", "HYPOTHESIS", "COV", "CI")
    own = {name: value for name, value in os.environ.items() if not name.startswith(theirs)}
    path = os.pathsep.join(p for p in (environment.pop("PYTHONPATH", ""), str(ROOT)) if p)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        env=own | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
