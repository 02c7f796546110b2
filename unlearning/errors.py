"""The errors a user can meet. Every message names the field, what was expected, the value, and the way out."""


class CertunlearnError(Exception):
    """Base of all errors that this project raises on purpose."""


class PlanError(CertunlearnError, ValueError):
    """An audit plan, or what it names, cannot be used as written."""


class NotTrusted(PlanError):
    """A plan names code to run, and the user did not say that the plan may run code."""


class HiddenPackage(CertunlearnError, ImportError):
    """A foreign package of the same name hides one of ours."""


class Diverged(CertunlearnError, ArithmeticError):
    """Training produced a value that is not finite."""


class NotConverged(CertunlearnError, ArithmeticError):
    """A solver stopped before the accuracy that a bound relies on."""


class BudgetExceeded(CertunlearnError):
    """The certified sensitivity exceeds what the noise was fixed for: retrain."""


class BrokenMethod(CertunlearnError):
    """A method returned something that is no state, certificate or release, or raised while it was audited."""


class RecordError(CertunlearnError, ValueError):
    """A record file is missing, damaged, or belongs to something else."""


class DamagedState(CertunlearnError, ValueError):
    """Something stored for unlearning is damaged, unfinished, or belongs to another run; nothing was changed."""


class BadScores(CertunlearnError, ValueError):
    """Scores that no bound can be computed from: none, not finite, of the wrong shape, or in conflict."""


class ShapeMismatch(CertunlearnError, ValueError):
    """Two arrays that must agree in shape do not."""

    def __init__(self, name: str, expected: object, got: object) -> None:
        """Name the argument and both shapes."""
        super().__init__(f"Shape mismatch in {name}: expected {expected}, got {got}.")
