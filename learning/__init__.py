"""Data, models, objectives with their constants, and training fleets on the replica axis."""
