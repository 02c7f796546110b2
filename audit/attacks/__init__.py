"""Attacks on released models: membership (MIA-L, MIA-U, U-LiRA), reconstruction, and behavioural measures."""
