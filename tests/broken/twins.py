"""All broken twins under one name; new code imports the modules."""

from .bounds import *  # noqa: F403
from .certified_unlearning import *  # noqa: F403
from .conduct import *  # noqa: F403
from .cubic import *  # noqa: F403
from .releases import *  # noqa: F403
from .twin import *  # noqa: F403
from .updates import *  # noqa: F403
