"""From the names in a plan to the code behind them: shipped methods, the user's files and modules.

A plan can come from anyone, so that code it names runs only with `--trust`. Names that the command line defines with
`--define NAME=TARGET` are the user's own and need none; nor do installed methods (entry points `certunlearn.methods`).
"""

import dataclasses
import hashlib
import importlib
import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import cloudpickle

from unlearning.errors import HiddenPackage, NotTrusted, PlanError
from unlearning.protocols import AnyMethod, Declaration

from .registry import registered_methods

if TYPE_CHECKING:
    from learning.data import Dataset, RawDataset

    from .plan import Plan

PACKAGES = ("unlearning", "learning", "methods", "audit", "properties", "reports")
PARTS = ("learn", "unlearn", "certify", "release")
PARTS_FOR_ONE_MODEL = ("learn", "unlearn")
_SPEAKING = (TypeError, ValueError, ArithmeticError)  # errors whose message says enough without their type


def parse_definitions(definitions: Iterable[str]) -> dict[str, str]:
    """Names and targets of `--define NAME=TARGET`.

    Raises:
        PlanError: not of that form, a name given twice, or the name of a registered method.
    """
    found: dict[str, str] = {}
    for definition in definitions:
        name, equals, target = definition.partition("=")
        if not (equals and name and ":" in target) or ":" in name:
            raise PlanError(f"--define must be NAME=TARGET, got {definition!r}; write mine=path/to/mine.py:Class.")
        if name in found or name in registered_methods():
            raise PlanError(f"--define must give a new name, got {name!r}, which is taken; choose another.")
        found[name] = target
    return found


def check_packages() -> None:
    """Refuse to go on when a foreign package hides one of ours.

    Raises:
        HiddenPackage: a package of ours would be imported from another folder than the one this file lies in.
    """
    home = Path(__file__).resolve().parent.parent
    for name in PACKAGES:
        found = _place_of(name)
        if found is not None and found.parent != home:
            raise HiddenPackage(
                f"package {name} must be {home / name}, got {found}, which hides it; start certunlearn outside "
                f"{found.parent}, take that folder off PYTHONPATH, or rename the package there."
            )


def load_target(target: str, *, folder: Path | None = None, where: str = "target") -> Any:
    """Import what `path/to/mine.py:Name` or `package.module:Name` names.

    The folder of a file is importable while the file is imported, behind everything else.

    Args:
        target: file or module, a colon, a name in it.
        folder: where a relative path starts; the current folder without it.
        where: place in the plan, for messages.

    Raises:
        PlanError: wrong form, no such file, module or name, or the code raises while it is imported.
        HiddenPackage: the code needs a package of its own that has the name of one of ours.
    """
    source, colon, name = target.rpartition(":")
    if not (colon and source and name.isidentifier()):
        raise PlanError(
            f'{where} must be "path/to/mine.py:Name" or "package.module:Name", got "{target}"; write both parts.'
        )
    if _is_file(source):
        module = _load_file(folder, source, target, where)
    else:
        module = _load_module(source, target, where)
    if not hasattr(module, name):
        public = [known for known in vars(module) if not known.startswith("_")]
        close = get_close_matches(name, public, 1)
        hint = f"did you mean {close[0]}" if close else f"it has {', '.join(public[:10]) or 'no public names'}"
        raise PlanError(f'{where} must name something in {source}, got "{name}"; {hint}.')
    return getattr(module, name)


def target_from_here(target: str, folder: Path | None) -> str:
    """A target of a plan in this folder as it is written in the current one; modules are everywhere the same.

    >>> target_from_here("package.module:Class", Path("plans"))
    'package.module:Class'
    >>> target_from_here("mine.py:Mine", Path("plans"))
    'plans/mine.py:Mine'
    """
    source, _, name = target.rpartition(":")
    if folder is None or not _is_file(source) or Path(source).is_absolute():
        return target
    return f"{os.path.relpath(folder / source)}:{name}"


def load_method(target: str, *, folder: Path | None = None, where: str = "method") -> type[AnyMethod]:
    """Load a method's class: a registered name, a file or a module; written for replicas or for one model.

    Raises:
        PlanError: as `load_target`; or it is no class, or lacks a part of a method.
    """
    check_packages()
    from learning.per_replica import for_one_model  # imports torch, as any method does

    found = load_target(registered_methods().get(target, target), folder=folder, where=where)
    if not isinstance(found, type):
        raise PlanError(f"{where} must name a class, got {target}, a {type(found).__name__}; name the method's class.")
    fields = {field.name for field in dataclasses.fields(found)} if dataclasses.is_dataclass(found) else set()
    parts = PARTS_FOR_ONE_MODEL if for_one_model(found) else PARTS
    missing = [part for part in parts if not callable(getattr(found, part, None))]
    if not hasattr(found, "declaration") and "declaration" not in fields | set(inspect.get_annotations(found)):
        missing.append("declaration")
    if missing:
        seen = "learning.per_replica.OneModel" if parts is PARTS_FOR_ONE_MODEL else "unlearning.protocols.Method"
        raise PlanError(
            f"{where} must have {', '.join(parts)} and declaration, got {target} without {', '.join(missing)}; see "
            f"{seen}."
        )
    return found


def make_method(
    method: type[AnyMethod], parameters: Mapping[str, Any], *, where: str = "method", target: str | None = None
) -> AnyMethod:
    """Build a method with a row's parameters; one that is written for one model is lifted onto the replica axis.

    Args:
        method: a loaded class.
        parameters: its arguments by name.
        where: the row, or the option of a command, for messages: rows[2].
        target: what the method is loaded by, where a command names it; None: a plan does.

    Raises:
        PlanError: a parameter the method does not know, lacks, or refuses; its declaration is none; or it is written
            for one model and takes other arguments than it will be given.
    """
    from learning.per_replica import lifted  # imports torch, as any method does

    place = where if target else f"{where}.parameters"
    try:
        known = [p for p in inspect.signature(method).parameters.values() if p.name != "self"]
    except (TypeError, ValueError):
        known = []
    names = [p.name for p in known if p.kind in {p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY}]
    if known and all(p.kind is not p.VAR_KEYWORD for p in known) or not known:
        for name in parameters:
            if name not in names:
                close = get_close_matches(name, names, 1)
                hint = f"did you mean {close[0]}" if close else f"it takes {', '.join(names) or 'none'}"
                raise PlanError(
                    f'{_of(place, name, target)} must be a parameter of {method.__name__}, got "{name}"; {hint}.'
                )
    missing = [p.name for p in known if p.name in names and p.default is p.empty and p.name not in parameters]
    if missing:
        write = f"{target}[{','.join(f'{name}=…' for name in missing)}]" if target else f"{missing[0]} = … there"
        raise PlanError(
            f"{_of(place, missing[0], target)} must be given for {method.__name__}, got nothing; write {write}."
        )
    try:
        made = method(**parameters)
    except PlanError:
        raise
    except (Exception, SystemExit) as error:
        blamed = next((name for name in parameters if name in str(error)), None)
        said = _first_line(error) if isinstance(error, _SPEAKING) else f"{type(error).__name__}: {_first_line(error)}"
        got = f"{blamed} = {parameters[blamed]!r}" if blamed else repr(dict(parameters))
        raise PlanError(f"{_of(place, blamed, target)} must suit {method.__name__}, got {got}: {said}") from error
    if not isinstance(made.declaration, Declaration):
        raise PlanError(
            f"{where if target else f'{where}.method'} must declare itself with an unlearning.Declaration, got "
            f"{type(made.declaration).__name__} in {method.__name__}; set declaration = Declaration(…)."
        )
    try:
        return lifted(made)
    except PlanError as error:
        raise PlanError(f"{where} must be a method: {error}") from error


def _of(place: str, name: str | None, target: str | None) -> str:
    """A parameter of a row, or of a method that a command names."""
    if name is None:
        return place
    return f"{place}: {name}" if target else f"{place}.{name}"


def resolve_code(plan: "Plan", *, trust: bool, defined: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Load all code that a plan names: method classes, functions of datasets and of models, by name as written there.

    Args:
        plan: a plan; relative paths in it start at its folder, those of `defined` at the current one.
        trust: whether the user lets the plan name code to run.
        defined: names and targets of the command line.

    Raises:
        NotTrusted: the plan names code and nobody trusts it; nothing has been imported then.
        PlanError: something named cannot be loaded or is no method.
        HiddenPackage: a foreign package hides one of ours.
    """
    defined = defined or {}
    check_packages()
    named = [name for name in plan.names() if ":" in name.target]
    if named and not trust:
        listed = ", ".join(f"{name.target} ({name.where})" for name in named)
        raise NotTrusted(
            f"{named[0].where} must not name code unless you trust the plan, got {listed}; read that code, then "
            "add --trust."
        )
    loaded: dict[str, Any] = {}
    for where, target in plan.names():
        if target in loaded:
            continue
        own = target in defined
        folder = None if own else plan.folder
        load = load_method if where.endswith("method") else load_target
        loaded[target] = load(defined[target] if own else target, folder=folder, where=where)
    check_packages()
    return loaded


def load_dataset(plan: "Plan", name: str, code: Mapping[str, Any], *, folder: Path | None) -> "Dataset":
    """Read and prepare one dataset of a plan.

    Args:
        plan: a plan.
        name: of a dataset in it.
        code: what `resolve_code` loaded.
        folder: folder of data, from --data or CERTUNLEARN_DATA; None: none was named.

    Raises:
        PlanError: the data do not fit what the plan says of them; the message begins with the place in the plan.
    """
    from learning.data import plant, prepare  # imports torch, which reading a plan does not need

    spec = plan.datasets[name]
    try:
        prepared = prepare(
            _raw(plan, name, code, folder),
            rows=spec.rows,
            holdout=spec.holdout,
            standardise=spec.standardise,
            norm=spec.norm,
            bias=spec.bias,
            split_seed=spec.split_seed,
        )
        if spec.canaries is None:
            return prepared
        return plant(prepared, **spec.canaries.model_dump(), seed=plan.seed)
    except PlanError as error:
        from .plan.messages import spell  # plans import this module

        raise PlanError(f"{spell(('datasets', name))}.{error}") from error


def _raw(plan: "Plan", name: str, code: Mapping[str, Any], folder: Path | None) -> "RawDataset":
    from learning.data import embedded, from_csv, from_function, from_npz  # imports torch

    spec = plan.datasets[name]
    if spec.source == "function":
        return from_function(code[spec.function], name=name, origin=f"function {spec.function}", remark=spec.remark)
    if spec.source == "npz":
        return from_npz(
            (folder or Path.cwd()) / spec.file,
            features=spec.features,
            labels=spec.labels,
            holdout_features=spec.holdout_features,
            holdout_labels=spec.holdout_labels,
            name=name,
            remark=spec.remark,
        )
    if spec.source == "csv":
        return from_csv(
            (folder or Path.cwd()) / spec.file,
            label=spec.label,
            header=spec.header,
            columns=spec.columns,
            missing=spec.missing,
            delimiter=spec.delimiter,
            name=name,
            remark=spec.remark,
        )
    return dataclasses.replace(embedded(spec.source), remark=spec.remark)


def _is_file(source: str) -> bool:
    return source.endswith(".py") or "/" in source or "\\" in source


def _place_of(name: str) -> Path | None:
    """Folder or file from which a top-level package is, or would be, imported."""
    module = sys.modules.get(name)
    spec = module.__spec__ if module is not None else importlib.util.find_spec(name)
    if spec is None:
        return None
    folders = list(spec.submodule_search_locations or ())
    place = folders[0] if folders else spec.origin
    return None if place is None else Path(place).resolve()


def _load_file(folder: Path | None, source: str, target: str, where: str) -> ModuleType:
    path = ((folder or Path.cwd()) / source).resolve()
    if not path.is_file():
        raise PlanError(
            f'{where} must name an existing file, got "{target}", not found at {path}; correct the path, which starts '
            f"at {'the current folder' if folder is None else 'the folder of the plan'}."
        )
    name = f"certunlearn_user_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise PlanError(f'{where} must name a Python file, got "{target}"; its name has to end in .py.')
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    sys.path.append(str(path.parent))
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        _explain_hidden(error, path.parent)
        raise PlanError(
            f'{where} must name code that can be imported, got "{target}": {_blame(error, path)}'
        ) from error
    finally:
        sys.path.remove(str(path.parent))
    _travel_by_value(path.parent)
    return module


def _travel_by_value(folder: Path) -> None:
    """Send the user's modules of a folder to worker processes whole: those could not import them by name."""
    for name, module in list(sys.modules.items()):
        place = getattr(module, "__file__", None)
        if place is None or name.partition(".")[0] in {*PACKAGES, "certunlearn", "tests", "__main__"}:
            continue
        path = Path(place)
        if folder in path.parents and "site-packages" not in path.parts:
            cloudpickle.register_pickle_by_value(module)


def _load_module(source: str, target: str, where: str) -> ModuleType:
    try:
        return importlib.import_module(source)
    except (Exception, SystemExit) as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing is not None and f"{source}.".startswith(f"{missing}."):
            raise PlanError(
                f'{where} must name an installed module, got "{target}" (no module {missing}); '
                'install it, or write "path/to/mine.py:Name".'
            ) from error
        raise PlanError(
            f'{where} must name code that can be imported, got "{target}": {_blame(error, None)}'
        ) from error


def _explain_hidden(error: BaseException, folder: Path) -> None:
    """Say so when the user's code wanted its own package and got ours of the same name."""
    wanted = error.name.partition(".")[0] if isinstance(error, ImportError) and error.name else ""
    theirs = folder / wanted
    ours = Path(__file__).resolve().parent.parent / wanted
    if wanted in PACKAGES and theirs != ours and (theirs.is_dir() or theirs.with_suffix(".py").is_file()):
        raise HiddenPackage(
            f"package {wanted} must be {ours} here, got an import meant for {theirs}; rename that package, or import "
            "its modules by another name."
        ) from error


def _blame(error: BaseException, path: Path | None) -> str:
    """Last line of a traceback, with the place in the user's code."""
    if isinstance(error, SyntaxError):
        return f"SyntaxError: {error.msg} (line {error.lineno} of {Path(error.filename or '?').name})."
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if path is None or Path(frame.filename) == path]
    place = f" (line {own[-1].lineno} of {Path(own[-1].filename).name})" if own else ""
    return f"{type(error).__name__}: {_first_line(error)}{place}."


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0]
