"""Ctrl-C, which a user's code cannot swallow."""

from typing import NoReturn


class Interruption:
    """Remembers Ctrl-C: an interruption that somebody's code swallowed is raised again at the next step."""

    seen = False
    kept = "nothing was written"  # what an interrupted command leaves, in words

    @classmethod
    def handle(cls, *_: object) -> NoReturn:
        """Handle the signal.

        Raises:
            KeyboardInterrupt: always.
        """
        cls.seen = True
        raise KeyboardInterrupt

    @classmethod
    def check(cls) -> None:
        """Go on, unless there was an interruption.

        Raises:
            KeyboardInterrupt: there was one.
        """
        if cls.seen:
            raise KeyboardInterrupt
