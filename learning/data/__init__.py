"""Where the records come from: read or built (`sources`, `tables`), then split, scaled and clipped (`prepare`).

`plant` puts canaries among the training records.
"""

from .canaries import plant
from .dataset import Canaries, Dataset, RawDataset
from .preparation import prepare
from .sources import embedded, from_function, from_npz
from .tables import from_csv

__all__ = ["Canaries", "Dataset", "RawDataset", "embedded", "from_csv", "from_function", "from_npz", "plant", "prepare"]
