"""Normal probabilities in 60 digits with the standard library: a series near 0, a continued fraction beyond."""

from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, localcontext

_CONTEXT = Context(prec=140, Emin=MIN_EMIN, Emax=MAX_EMAX)


def normal_cdf(x: float | Decimal) -> Decimal:
    """Φ(x), to 60 digits and more."""
    with localcontext(_CONTEXT):
        t = Decimal(x)
        if t == 0:
            return Decimal("0.5")
        density = (-t * t / 2).exp() / (2 * _pi()).sqrt()
        if abs(t) < 8:  # Φ(t) = ½ + φ(t)·Σ t^{2k+1}/(2k+1)!!
            term = total = t
            k = 1
            while abs(term) > Decimal(10) ** -130:
                k += 2
                term = term * t * t / k
                total += term
            return Decimal("0.5") + density * total
        # Φ(−s) = φ(s)/(s + 1/(s + 2/(s + 3/(s + …)))), Laplace
        s = fraction = abs(t)
        for k in range(900, 0, -1):
            fraction = s + k / fraction
        tail = density / fraction
        return tail if t < 0 else 1 - tail


def delta(mu: float | Decimal, epsilon: float) -> Decimal:
    """δ(ε) of a μ-GDP mechanism, from its definition."""
    with localcontext(_CONTEXT):
        m, e = Decimal(mu), Decimal(epsilon)
        return normal_cdf(m / 2 - e / m) - e.exp() * normal_cdf(-m / 2 - e / m)


def exponential(x: float) -> Decimal:
    """e^x."""
    with localcontext(_CONTEXT):
        return Decimal(x).exp()


def _pi() -> Decimal:
    """π by Machin's formula: 16·arctan(1/5) − 4·arctan(1/239)."""

    def arctan_of_inverse(n: int) -> Decimal:
        power = total = 1 / Decimal(n)
        k, sign = 1, 1
        while power > Decimal(10) ** -145:
            power, k, sign = power / (n * n), k + 2, -sign
            total += sign * power / k
        return total

    return 16 * arctan_of_inverse(5) - 4 * arctan_of_inverse(239)
