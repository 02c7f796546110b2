"""`certunlearn new-method`: a method that works as written, its test, and a small plan, to be replaced by one's own."""

import ast
import importlib.util
import keyword
import re
import shlex
import sys
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Annotated

import typer

from unlearning.errors import PlanError

from .loader import PACKAGES
from .registry import registered_methods

_TEMPLATES = {False: "one_model", True: "replicas"}
_WAY_OUT = "Give a name in lower case with underscores, like descent_to_delete."


def new_method(
    name: Annotated[str, typer.Argument(help="Name of the module, in lower case: descent_to_delete.")],
    folder: Annotated[Path, typer.Option("--folder", help="Where to write; made where it is missing.")] = Path(),
    replicas: Annotated[
        bool,
        typer.Option(
            "--replicas/--for-one-model",
            help="Many models side by side (fast; any model and loss of a task), or one at a time (simple).",
        ),
    ] = False,
) -> None:
    """Write a commented method that works as it is, with its test and a small audit plan. Nothing is overwritten.

    Raises:
        PlanError: the name cannot be used, or one of the files exists.
    """
    texts = _texts(name, replicas=replicas)
    for file in texts:
        if (folder / file).exists():
            raise PlanError(f"NAME must be that of a new method, got {name}: {folder / file} exists. Choose another.")
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in texts.items():
        with (folder / file).open("x", encoding="utf-8") as out:
            out.write(text)
        typer.echo(f"wrote {folder / file}")
    method, test, plan = (shlex.quote(str(folder / file)) for file in texts)
    target = f"{method}:{class_name(name)}"
    typer.echo(
        "\nNext: change what they say, and ask again\n"
        f"  certunlearn check {target}\n"
        f"  python -m pytest {test}\n"
        f"  certunlearn audit {plan} --define {name}={target} --out {shlex.quote(str(Path('out') / name))}"
    )


def class_name(name: str) -> str:
    """Name of the class in a module of this name.

    >>> class_name("descent_to_delete")
    'DescentToDelete'
    """
    return "".join(part.capitalize() for part in name.split("_"))


def _texts(name: str, *, replicas: bool) -> dict[str, str]:
    """Files and their texts: method, test, plan.

    Raises:
        PlanError: the name cannot be used.
    """
    reason = _unusable(name)
    own = class_name(name)
    folder, kind = files(__package__) / "templates", _TEMPLATES[replicas]
    sources = {
        f"{name}.py": f"{kind}.py.txt",
        f"test_{name}.py": f"{kind}_test.py.txt",
        f"{name}.toml": "plan.toml.txt",
    }
    texts = {file: (folder / source).read_text(encoding="utf-8") for file, source in sources.items()}
    if reason is None and (keyword.iskeyword(own) or own in _names(texts[f"{name}.py"])):
        reason = f"its class {own} would hide a name that the file needs"
    if reason is not None:
        raise PlanError(f"NAME must be that of a new module, got {name!r}: {reason}. {_WAY_OUT}")
    return {file: Template(text).substitute(module=name, class_name=own) for file, text in texts.items()}


def _names(template: str) -> set[str]:
    """Names that the code of a template reads or defines, its own class's left out."""
    found = set()
    for node in ast.walk(ast.parse(Template(template).substitute(module="_", class_name="_"))):
        found |= {node.id} if isinstance(node, ast.Name) else set()
        found |= {node.name} if isinstance(node, (ast.alias, ast.ClassDef, ast.FunctionDef)) else set()
    return found


def _unusable(name: str) -> str | None:
    """Why a module cannot have this name."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        return "it is no identifier in lower case"
    if keyword.iskeyword(name) or keyword.issoftkeyword(name):
        return "it is a word of Python"
    if name in registered_methods():
        return "a registered method has it"
    if name in (*PACKAGES, "certunlearn", "conftest", "tests"):
        return "a package of certunlearn has it"
    if name in sys.stdlib_module_names:
        return "a module of the standard library has it"
    found = importlib.util.find_spec(name)
    if found is not None and Path(found.origin or "").parent != Path.cwd():
        return "an installed module has it"
    return None
