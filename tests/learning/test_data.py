"""Datasets: what is refused, what is clipped, and that no training record is looked at."""

import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from learning.data import RawDataset, embedded, from_csv, from_function, from_npz, prepare
from unlearning.errors import PlanError

X = np.arange(20.0).reshape(10, 2)
Y = np.array([0, 1] * 5)


def raw(features=X, labels=Y, *holdout, name="made") -> RawDataset:
    return from_function(lambda: (features, labels, *holdout), name=name)


def exact_norm_squared(row) -> Fraction:
    return sum((Fraction(float(x)) ** 2 for x in row), Fraction(0))


@pytest.mark.parametrize(
    ("name", "rows", "held", "columns", "classes"),
    [("breast-cancer", 455, 114, 31, 2), ("digits", 1438, 359, 65, 10), ("wine", 142, 36, 14, 3)],
)
def test_embedded_datasets(name, rows, held, columns, classes):
    data = prepare(embedded(name))
    assert data.features.shape == (rows, columns) and data.holdout_features.shape == (held, columns)
    assert data.features.dtype is torch.float64 and data.labels.dtype is torch.int64
    assert data.classes == classes and sorted(set(data.labels.tolist())) == list(range(classes))
    assert data.norm_upper == 1.0
    assert "holdout rows only" in data.preprocessing and data.preprocessing.endswith(".")
    assert data.sha256 == prepare(embedded(name)).sha256
    assert data.sha256 != prepare(embedded(name), split_seed=1).sha256


@given(
    arrays(np.float64, (8, 3), elements=st.floats(-1e100, 1e100)),
    arrays(np.float64, (4, 3), elements=st.floats(-1e100, 1e100)),
    st.floats(1e-3, 1e3),
    st.booleans(),
    st.booleans(),
)
def test_norms_never_exceed_norm_upper(features, held, norm, bias, standardise):
    source = raw(features, np.array([0, 1] * 4), held, np.array([0, 1, 0, 1]))
    try:
        data = prepare(source, norm=norm, bias=bias, standardise=standardise)
    except PlanError as error:
        assert "no column varies" in str(error)
        return
    for row in (*data.features, *data.holdout_features):
        assert exact_norm_squared(row) <= Fraction(norm) ** 2
    if bias:
        assert len(set(data.features[:, -1].tolist())) == 1


def test_a_wide_row_is_clipped_to_the_norm_and_not_much_below():
    features = np.random.default_rng(0).normal(size=(6, 3000)) * 1e3
    data = prepare(raw(features, np.array([0, 1] * 3), features[:3] / 1e4, [0, 1, 0]), standardise=False, bias=False)
    for row in data.features:
        assert 1 - 1e-9 < exact_norm_squared(row) <= 1


def test_training_rows_do_not_move_the_preprocessing():
    held = np.random.default_rng(1).normal(size=(20, 2))
    first = prepare(raw(X, Y, held, [0, 1] * 10))
    changed = X.copy()
    changed[3] = 1e6
    second = prepare(raw(changed, Y, held, [0, 1] * 10))
    others = [i for i in range(10) if i != 3]
    assert torch.equal(first.features[others], second.features[others])
    assert torch.equal(first.holdout_features, second.holdout_features)


def test_a_column_constant_on_the_holdout_rows_becomes_zero():
    held = np.random.default_rng(2).normal(size=(20, 2))
    held[:, 1] = 0.1
    assert (prepare(raw(X, Y, held, [0, 1] * 10)).features[:, 1] == 0).all()


def test_rows_are_stratified_and_keep_their_order():
    labels = np.array([0] * 80 + [1] * 19 + [2])
    source = raw(np.arange(100.0)[:, None], labels)
    data = prepare(source, rows=20, standardise=False, norm=None, bias=False)
    counts = torch.bincount(data.labels).tolist()
    assert sum(counts) == 20 and counts[2] == 1 and 14 <= counts[0] <= 16
    values = data.features[:, 0].tolist()
    assert values == sorted(values)
    assert data.norm_upper is None
    held = set(data.holdout_features[:, 0].tolist())
    assert len(held) == 20 and not held & set(values)


def test_without_norm_only_the_bias_is_appended():
    data = prepare(raw(), standardise=False, norm=None)
    assert (data.features[:, -1] == 1).all() and data.features.shape == (8, 3)
    assert "appended" in data.preprocessing and "leak" not in data.preprocessing


def test_nothing_done_is_said():
    data = prepare(raw(), standardise=False, norm=None, bias=False)
    assert data.preprocessing == "The features are used as the source gives them."


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        ({"rows": 9}, ["rows must be at most 8", "10 records, 2 of them held out", "got 9"]),
        ({"rows": 1}, ["rows must be at least 2", "got 1"]),
        ({"holdout": 1.0}, ["holdout must be in (0, 1)", "got 1.0"]),
        ({"holdout": 0.95}, ["holdout must leave a training row", "got 0.95"]),
        ({"holdout": 0.01}, ["hold out one or more", "got 0.01"]),
        ({"norm": float("nan")}, ["norm must be a finite number > 0", "got nan"]),
        ({"norm": 0.0}, ["norm must be a finite number > 0", "got 0.0"]),
        ({"split_seed": -1}, ["split_seed must be >= 0", "got -1"]),
    ],
)
def test_bad_preparation(arguments, fragments):
    with pytest.raises(PlanError) as caught:
        prepare(raw(), **arguments)
    for fragment in fragments:
        assert fragment in str(caught.value)


def test_training_rows_of_one_class_are_refused():
    with pytest.raises(PlanError, match="rows must hold at least two classes"):
        prepare(raw(X, [0] * 10, X, [0, 1] * 5))


def test_a_holdout_without_any_spread_is_refused():
    with pytest.raises(PlanError, match="standardise must be false where no column varies"):
        prepare(raw(X, Y, np.ones((4, 2)), [0, 1, 0, 1]))


NAN = X.copy()
NAN[4, 1] = np.nan


@pytest.mark.parametrize(
    ("returned", "fragments"),
    [
        ((NAN, Y), ["features must be finite", "got nan in row 4, column 1"]),
        ((X + np.inf, Y), ["features must be finite"]),
        ((X, Y[:9]), ["labels must have shape [10]", "got [9]"]),
        ((X, Y[:, None]), ["labels must have shape [10]", "got [10, 1]"]),
        ((X[:, 0], Y), ["features must have shape [rows, …]", "got [10]"]),
        ((X[:0], Y[:0]), ["features must hold at least one row", "got [0, 2]"]),
        ((X, Y + 0.5), ["labels must be whole numbers or strings", "got 0.5 in row 0"]),
        ((X, [0] * 10), ["labels must hold at least two classes", "only 0"]),
        ((X.astype(str), Y), ["features must be real numbers", "<U"]),
        ((X, Y + 1j), ["labels must be whole numbers or strings", "complex"]),
        ((X, Y, X[:, :1], Y), ["holdout_features must have 2 columns", "got 1"]),
        ((X, Y, X, None), ["holdout_labels must be given together with holdout_features"]),
        ((X, Y, X, Y.astype(str)), ["holdout_labels must be of the same kind"]),
        ((X, Y, X), ["function must return", "got 3 values"]),
        (X, ["function must return", "got ndarray"]),
    ],
)
def test_bad_records(returned, fragments):
    with pytest.raises(PlanError) as caught:
        from_function(lambda: returned)
    for fragment in fragments:
        assert fragment in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_function_that_raises():
    def broken():
        raise KeyError("no such thing")

    with pytest.raises(PlanError, match=r"got KeyError: 'no such thing'; call broken\(\) by itself"):
        from_function(broken)


def test_a_function_of_tensors_images_and_string_labels():
    images = torch.rand(10, 4, 4, dtype=torch.float32)
    source = from_function(lambda: (images, np.array(["cat", "dog"] * 5)), remark="made up")
    data = prepare(source)
    assert data.features.shape == (8, 17) and data.label_names == ("cat", "dog") and data.remark == "made up"


def test_labels_with_gaps_are_numbered():
    source = raw(X, [7, -2] * 5)
    assert source.labels.tolist() == [1, 0] * 5 and source.label_names == ("-2", "7")


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "small.npz"
    images = np.random.default_rng(0).integers(0, 256, (12, 3, 3), dtype=np.uint8)
    np.savez(
        path,
        x=images,
        y=np.arange(12) % 3,
        tx=images[:5],
        ty=np.arange(5) % 3,
        real=images[:5] / 255,
        objects=np.array([{}, 1], dtype=object),
    )
    return path


def test_npz(archive):
    source = from_npz(archive, features="x", labels="y", holdout_features="tx", holdout_labels="ty", remark="lossy")
    data = prepare(source, standardise=False, norm=None, bias=False)
    assert data.features.shape == (12, 9) and data.holdout_features.shape == (5, 9)
    assert 0 <= data.features.min() and 0.5 < data.features.max() <= 1
    assert data.remark == "lossy" and data.name == "small"
    assert data.origin.startswith("file small.npz, SHA-256 ") and str(archive.parent) not in data.origin
    assert prepare(from_npz(archive, features="x", labels="y")).features.shape == (10, 10)


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        ({"features": "image"}, ["features must be the name of an array in small.npz", "'image'", "it has x, y"]),
        ({"labels": "objectz"}, ["labels must be the name", "did you mean 'objects'?"]),
        ({"labels": "objects"}, ["labels must be an array of numbers", "objects"]),
        ({"holdout_features": "tx"}, ["holdout_labels must be given together"]),
        ({"holdout_features": "real", "holdout_labels": "ty"}, ["holdout_features must have the type", "float64"]),
        ({"labels": "ty"}, ["labels must have shape [12]", "got [5]"]),
    ],
)
def test_bad_npz(archive, arguments, fragments):
    with pytest.raises(PlanError) as caught:
        from_npz(archive, **{"features": "x", "labels": "y"} | arguments)
    for fragment in fragments:
        assert fragment in str(caught.value)


def test_files_that_are_no_archives(tmp_path):
    with pytest.raises(PlanError) as caught:
        from_npz(tmp_path / "none.npz", features="x", labels="y")
    for fragment in ("'none.npz'", str(tmp_path), "--data DIR", "CERTUNLEARN_DATA"):
        assert fragment in str(caught.value)
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(PlanError, match="file must be a NumPy archive"):
        from_npz(tmp_path / "text.npz", features="x", labels="y")
    np.save(tmp_path / "one.npy", X)
    with pytest.raises(PlanError, match="a single array"):
        from_npz(tmp_path / "one.npy", features="x", labels="y")
    with pytest.raises(PlanError, match="file must be readable"):
        from_npz(tmp_path, features="x", labels="y")


TABLE = "age;colour;kind\n30;red;yes\n40.5;green;no\n\n22;red;no\n51;blue;yes\n"


def table(tmp_path, text) -> Path:
    path = tmp_path / "table.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_csv(tmp_path):
    source = from_csv(table(tmp_path, TABLE), label="kind")
    assert source.features.tolist() == [[30, 0, 0, 1], [40.5, 0, 1, 0], [22, 0, 0, 1], [51, 1, 0, 0]]
    assert source.labels.tolist() == [1, 0, 0, 1] and source.label_names == ("no", "yes")
    assert source.note == "columns colour one-hot"
    assert from_csv(table(tmp_path, TABLE), label=-1, columns=["age"]).features.shape == (4, 1)


def test_csv_without_header_and_with_missing_entries(tmp_path):
    text = "39, ?, 1.0\n40, a, 0\n41, b, 1\n42, a, 0\n"
    source = from_csv(table(tmp_path, text), label=2, header=False, missing="?")
    assert source.features.tolist() == [[40, 1, 0], [41, 0, 1], [42, 1, 0]] and source.labels.tolist() == [0, 1, 0]
    assert "'?' left out" in source.note
    assert len(from_csv(table(tmp_path, text), label=2, header=False, missing="?", columns=[0]).labels) == 4


LONG = "text,y\n" + "".join(f"word {i},{i % 2}\n" for i in range(200))


@pytest.mark.parametrize(
    ("text", "arguments", "fragments"),
    [
        (TABLE, {"label": "kin"}, ["label must be a column of the table", "did you mean 'kind'?"]),
        (TABLE, {"label": 7}, ["label must be a column number between -3 and 2", "got 7"]),
        (TABLE, {"label": "age", "header": False}, ["label must be a column number in a table without header"]),
        (TABLE, {"columns": ["agee"]}, ["columns[0] must be a column of the table", "did you mean 'age'?"]),
        (TABLE, {"columns": ["kind"]}, ["columns must be distinct and without the label"]),
        (TABLE, {"columns": []}, ["columns must name at least one feature"]),
        (TABLE, {"label": "age"}, ["labels must be whole numbers or strings", "40.5"]),
        (TABLE, {"delimiter": ","}, ["label must be a column of the table", "'kind'"]),
        ("a,kind\n1,x\n2\n", {}, ["file must have 2 entries in every line", "got 1 in line 3"]),
        ("a,kind\n1,x\n,y\n", {}, ["columns must have no empty entry", "line 3", "missing"]),
        ("a,kind\n1,x\n2,\n", {}, ["label must be given in every row", "line 3"]),
        ("a,kind\n1,x\nnan,y\n", {}, ["columns must be finite numbers", "'nan' in 'a', line 3"]),
        ("a,kind\n1,x\n2,x\n", {}, ["labels must hold at least two classes", "only x"]),
        ("a,a,kind\n1,1,x\n", {}, ["header must hold distinct names", "'a' twice"]),
        ("", {}, ["file must hold at least one row"]),
        ("a,kind\n", {}, ["file must hold at least one row"]),
        ("a,kind\n?,x\n", {"missing": "?"}, ["file must hold at least one whole row", "1 rows"]),
        (LONG, {"label": "y"}, ["at most 100 distinct words", "got 200 in 'text'", "'word 0' in line 2"]),
        ('a,kind\n"1,x\n', {}, ["file must be a CSV table"]),
    ],
)
def test_bad_csv(tmp_path, text, arguments, fragments):
    with pytest.raises(PlanError) as caught:
        from_csv(table(tmp_path, text), **{"label": "kind"} | arguments)
    for fragment in fragments:
        assert fragment in str(caught.value)
    assert "\n" not in str(caught.value)


def test_csv_of_other_bytes(tmp_path):
    (tmp_path / "latin.csv").write_bytes(b"a,kind\n1,\xe9\n")
    with pytest.raises(PlanError, match="UTF-8 text, got byte 0xe9"):
        from_csv(tmp_path / "latin.csv", label="kind")


def test_an_unknown_embedded_dataset():
    with pytest.raises(PlanError, match="source must be one of breast-cancer, digits, wine, got 'iris'"):
        embedded("iris")


@pytest.mark.data
@pytest.mark.parametrize(
    ("build", "shape", "classes"),
    [
        (
            lambda folder: from_npz(
                folder / "mnist.npz",
                features="train_images",
                labels="train_labels",
                holdout_features="test_images",
                holdout_labels="test_labels",
            ),
            (500, 785),
            10,
        ),
        (lambda folder: from_csv(folder / "obesity.csv", label="NObeyesdad"), (500, 32), 7),
        (lambda folder: from_csv(folder / "adult.data", label=-1, header=False, missing="?"), (500, 105), 2),
    ],
    ids=["mnist", "obesity", "adult"],
)
def test_real_files(build, shape, classes):
    folder = os.environ.get("CERTUNLEARN_DATA")
    if not folder:
        pytest.skip("CERTUNLEARN_DATA names no folder of real data")
    data = prepare(build(Path(folder)), rows=500)
    assert data.features.shape == shape and data.classes == classes
    assert data.features.norm(dim=1).max() <= 1
