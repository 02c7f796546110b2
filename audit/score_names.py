"""Names of the shipped scores, as in plans: apart, so that reading a plan imports nothing else."""

DISCRIMINATOR = "discriminator"
U_LIRA = "u-lira"
RULI = "ruli"
FITTED_SCORES = (DISCRIMINATOR, U_LIRA, RULI)  # fitted on selection runs
SHIPPED_SCORES = ("forget-loss", "forget-margin", "forget-confidence", *FITTED_SCORES)
