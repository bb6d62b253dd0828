"""Numbers, times and intervals as people read them."""

from alctl.report.measures import Estimate


def count(n: int) -> str:
    """Return a number with its thousands apart."""
    return f"{n:,}"


def fraction(value: float | None) -> str:
    """Return a number with four digits, a dash for none."""
    return "–" if value is None else f"{value:.4f}"


def share(estimate: Estimate) -> str:
    """Return a share with its interval, in percent."""
    return f"{estimate.value:.0%} ({estimate.low:.0%}–{estimate.high:.0%})"


def spaced(name: str) -> str:
    """Return the name of a metric as words."""
    return name.replace("_", " ")


def day(time: str) -> str:
    """Return a recorded time without its letters."""
    return time.replace("T", " ").removesuffix("Z")


def points(estimate: Estimate) -> str:
    """Return a difference of shares in percentage points with its interval."""
    value, low, high = (100 * number for number in estimate)
    return f"{value:+.1f} points (95 % interval {low:+.1f} to {high:+.1f})"


def interval(estimate: Estimate) -> str:
    """Return a number with its interval."""
    return f"{estimate.value:.3f}, 95 % interval {estimate.low:.3f} to {estimate.high:.3f}"


def hours(seconds: float) -> str:
    """Return a time as people say it."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"
