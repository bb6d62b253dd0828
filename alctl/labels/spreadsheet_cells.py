"""Write text into CSV cells so that no spreadsheet runs it as a formula, and read it back."""

_FORMULA = ("=", "+", "-", "@")


QUOTED = "'"
"""What `safe_cell` puts in front."""


def safe_cell(value: object) -> object:
    """Return a CSV cell that no spreadsheet runs as a formula: such text gets an apostrophe in front.

    So does text that begins with a space, which nobody could tell from an untidy file when it comes back.
    """
    return f"'{value}" if isinstance(value, str) and _risky(value) else value


def plain_cell(text: str) -> str:
    """Undo `safe_cell`."""
    return text[1:] if text.startswith("'") and _risky(text) else text


def _risky(text: str) -> bool:
    begin = text.lstrip("'")[:1]
    return begin.isspace() or begin in _FORMULA
