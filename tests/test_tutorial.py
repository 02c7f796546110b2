"""The pages for authors of methods, run as they stand: files written, commands run, outputs compared."""

import doctest
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FENCE = re.compile(
    r"(?:<!-- exit (?P<status>\d) -->\n)?```(?P<kind>\w+)(?: title=\"(?P<file>[\w.]+)\")?\n(?P<text>.*?)```\n",
    re.DOTALL,
)
COMMANDS = {"certunlearn": ("-m", "certunlearn"), "pytest": ("-m", "pytest", "-p", "no:cacheprovider")}


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: its language, the file it belongs to, the exit status it ends in."""

    kind: str
    file: str | None
    status: int | None
    text: str


def blocks(page: str) -> list[Block]:
    text = (ROOT / page).read_text()
    found = [
        Block(m["kind"], m["file"], None if m["status"] is None else int(m["status"]), m["text"])
        for m in FENCE.finditer(text)
    ]
    titled = re.findall(r"^(?:```\w+ title=|```console|```pycon)", text, re.MULTILINE)
    read = [block for block in found if block.file or block.kind in ("console", "pycon")]
    assert len(read) == len(titled), "a block that this test does not read"
    return found


def as_pattern(line: str) -> re.Pattern[str]:
    """A line of a page: … stands for anything, any blanks for any others."""
    parts = [r"\s+".join(re.escape(word) for word in part.split()) for part in line.split("…")]
    return re.compile(r"^\s*" + r".*".join(parts))


def differing(expected: str, printed: str) -> str | None:
    """First line of a page that a command does not print; a line … alone stands for any number of lines."""
    lines, free = [line.strip() for line in printed.splitlines() if line.strip()], False
    for line in expected.splitlines():
        if line.strip() == "…":
            free = True
        elif line.strip():
            places = range(len(lines)) if free else range(min(1, len(lines)))
            here = next((place for place in places if as_pattern(line).match(lines[place])), None)
            if here is None:
                return line
            lines, free = lines[here + 1 :], False
    return None


@pytest.fixture
def run(tmp_path: Path):
    """Run a command of a page in a scratch folder, with the project on the path as an installation would have it."""
    info = tmp_path / "site" / "certunlearn-0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: certunlearn\nVersion: 0\n")
    (info / "entry_points.txt").write_text("[pytest11]\ncertunlearn = certunlearn.pytest_plugin\n")
    folder = tmp_path / "scratch"
    folder.mkdir()
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "HYPOTHESIS", "COV"))}
    path = os.pathsep.join([str(info.parent), str(ROOT)])
    environment = kept | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "COLUMNS": "120"}

    def call(command: str) -> subprocess.CompletedProcess[str]:
        program, rest = command.split(" ", 1)
        line = " ".join([shlex.quote(sys.executable), *COMMANDS[program], rest])
        return subprocess.run(
            ["sh", "-c", line], cwd=folder, env=environment, capture_output=True, text=True, timeout=180
        )

    call.folder = folder
    return call


def follow(page: list[Block], run) -> list[str]:
    """Do what a page says, block by block; returns the commands that were run."""
    ran = []
    for block in page:
        if block.kind == "pycon":
            test = doctest.DocTestParser().get_doctest(block.text, {}, "page", None, 0)
            assert doctest.DocTestRunner().run(test).failed == 0
        elif block.kind == "diff":
            path = run.folder / block.file
            old, new = ("".join(line[1:] + "\n" for line in block.text.splitlines() if line[0] == s) for s in "-+")
            assert path.read_text().count(old) == 1
            path.write_text(path.read_text().replace(old, new))
        elif block.kind == "console":
            for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
                command, _, expected = part.partition("\n")
                done = run(command)
                told = f"{command}\n{done.stdout}\n{done.stderr}"
                assert done.returncode == block.status, told
                assert (line := differing(expected, done.stdout)) is None, f"not printed: {line}\n{told}"
                ran.append(command)
        else:
            (run.folder / block.file).write_text(block.text)
    return ran


def test_the_tutorial_is_what_it_says(run) -> None:
    ran = follow(blocks("docs/tutorial.md"), run)
    assert [command.split()[1] for command in ran if command.startswith("certunlearn")] == [
        "check",
        "replay",
        "replay",
        "check",
        "audit",
    ]
    assert sum(command.startswith("pytest") for command in ran) == 2


def test_the_method_of_the_readme_is_checked_by_three_routes(run) -> None:
    """In a folder outside the checkout: the command, the plugin, and a suite of one's own."""
    page = [block for block in blocks("README.md") if block.file or block.status is not None]
    assert [block.kind for block in page] == ["python", "console"]
    assert len(page[0].text.split("class Mine:\n")[1].split("\n\n")) == 5 and page[0].text.count("\n") <= 24
    few = Block("console", None, 0, page[1].text.replace("check mine", "check --law sensitivity --law order mine"))
    few = Block("console", None, 0, few.text.replace("pytest --", "pytest -k 'sensitivity or bad_release' --"))
    suite = """
from mine import Mine
from properties import parametrize_with_checks

@parametrize_with_checks([Mine()], laws=["effect", "bad_requests"])
def test_laws(method, check):
    check(method)
"""
    own = Block("console", None, 0, "$ pytest test_own.py\n…\n…2 passed…\n")
    assert len(follow([page[0], few, Block("python", "test_own.py", None, suite), own], run)) == 3


def test_a_page_that_lies_is_caught() -> None:
    printed = "one  line\n\ntwo lines 0.15\nthree\n"
    assert differing("one line\n…\nthree\n", printed) is None
    assert differing("…\ntwo … 0.15\n", printed) is None
    for lie in ("two\n", "…\ntwo … 0.16\n", "…\nthree\none\n", "one line\nthree\n", "…\nfour\n"):
        assert differing(lie, printed) is not None
