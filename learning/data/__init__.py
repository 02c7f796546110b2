"""Where the records come from: read or built (`sources`, `tables`), then split, scaled and clipped (`prepare`)."""

from .dataset import Dataset, RawDataset
from .preparation import prepare
from .sources import embedded, from_function, from_npz
from .tables import from_csv

__all__ = ["Dataset", "RawDataset", "embedded", "from_csv", "from_function", "from_npz", "prepare"]
