"""Records that scikit-learn ships, NumPy archives, and functions of the user's."""

import io
import zipfile
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from unlearning.errors import PlanError

from .dataset import Array, RawDataset, checked, file_origin, readable

EMBEDDED = {
    "breast-cancer": ("load_breast_cancer", "Wisconsin diagnostic breast cancer, UCI, as shipped by scikit-learn"),
    "digits": ("load_digits", "optical recognition of handwritten digits, UCI, as shipped by scikit-learn"),
    "wine": ("load_wine", "Wine recognition, UCI, as shipped by scikit-learn"),
}


def embedded(name: str) -> RawDataset:
    """One of the datasets that scikit-learn ships: breast-cancer [569, 30], digits [1797, 64] or wine [178, 13].

    Raises:
        PlanError: another name.
    """
    if name not in EMBEDDED:
        raise PlanError(f"source must be one of {', '.join(EMBEDDED)}, got {name!r}; or read a file of your own.")
    import sklearn.datasets  # slow to import, needed here only

    loader, origin = EMBEDDED[name]
    bunch = getattr(sklearn.datasets, loader)()
    return checked(bunch.data, bunch.target, name=name, origin=origin)


def from_npz(
    path: str | Path,
    *,
    features: str,
    labels: str,
    holdout_features: str | None = None,
    holdout_labels: str | None = None,
    name: str | None = None,
    remark: str | None = None,
) -> RawDataset:
    """Records of a NumPy archive; images are flattened, and uint8 features divided by 255.

    Args:
        path: the archive.
        features: name of an array [n, …].
        labels: name of an array [n] of whole numbers or strings.
        holdout_features: name of an array [h, …], or None.
        holdout_labels: name of an array [h], or None.
        name: short name; the file's without it.
        remark: what a reader must know.

    Raises:
        PlanError: no such file or array, pickled objects, or arrays that `checked` refuses.
    """
    path = Path(path)
    content = readable(path)
    wanted = {
        "features": features,
        "labels": labels,
        "holdout_features": holdout_features,
        "holdout_labels": holdout_labels,
    }
    arrays: dict[str, Array | None] = {}
    try:
        archive = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise PlanError(
            f"file must be a NumPy archive (.npz), got {path.name} ({_first_line(error)}); write it with numpy.savez."
        ) from error
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise PlanError(
            f"file must be a NumPy archive (.npz), got {path.name}, a single array; write both arrays with numpy.savez."
        )
    with archive:
        for field, array_name in wanted.items():
            arrays[field] = None if array_name is None else _member(archive, field, array_name, path)
    byte_valued = arrays["features"] is not None and arrays["features"].dtype == np.uint8
    held = arrays["holdout_features"]
    if held is not None and (held.dtype == np.uint8) != byte_valued:
        raise PlanError(
            f"holdout_features must have the type of features, got {held.dtype}; write both arrays in the same unit."
        )
    return checked(
        **arrays,
        name=name or path.stem,
        origin=file_origin(path, content),
        divisor=255.0 if byte_valued else 1.0,
        note="bytes divided by 255" if byte_valued else "",
        remark=remark,
    )


def from_function(
    function: Callable[[], Any], *, name: str | None = None, origin: str | None = None, remark: str | None = None
) -> RawDataset:
    """Records that a function returns.

    Args:
        function: takes nothing; returns (features, labels) or (features, labels, holdout_features, holdout_labels),
            tensors or arrays.
        name: short name; the function's without it.
        origin: where the records come from; the function's name without it.
        remark: what a reader must know.

    Raises:
        PlanError: the function raises, returns something else, or returns arrays that `checked` refuses.
    """
    called = getattr(function, "__name__", type(function).__name__)
    try:
        returned = function()
    except Exception as error:
        raise PlanError(
            f"function must return records, got {type(error).__name__}: {_first_line(error)}; call {called}() by "
            "itself to see where."
        ) from error
    if not (isinstance(returned, tuple | list) and len(returned) in {2, 4}):
        got = f"{len(returned)} values" if isinstance(returned, tuple | list) else type(returned).__name__
        raise PlanError(
            f"function must return (features, labels) or (features, labels, holdout_features, holdout_labels), got "
            f"{got}; change {called}."
        )
    return checked(*returned, name=name or called, origin=origin or f"function {called}", remark=remark)


def _member(archive: Any, field: str, name: str, path: Path) -> Array:
    if name not in archive.files:
        close = get_close_matches(name, archive.files, 1)
        hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(archive.files) or 'none'}."
        raise PlanError(f"{field} must be the name of an array in {path.name}, got {name!r}; {hint}")
    try:
        member: Array = archive[name]
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise PlanError(
            f"{field} must be an array of numbers or strings, got {name!r} in {path.name} ({_first_line(error)}); "
            "write it again with numpy.savez, without Python objects."
        ) from error
    return member


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
