"""certunlearn: decides whether a machine-unlearning method forgets what it certifies to forget.

The command line is `certunlearn` or `python -m certunlearn`; the vocabulary is in `unlearning`.
"""

__version__ = "0.1.0"
