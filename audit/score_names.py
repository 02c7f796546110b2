"""Names of the shipped scores, as in plans: apart, so that reading a plan imports nothing else."""

DISCRIMINATOR = "discriminator"
SHIPPED_SCORES = ("forget-loss", "forget-margin", "forget-confidence", DISCRIMINATOR)
