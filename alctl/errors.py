"""The one exception that is meant for a user."""


class AlctlError(Exception):
    """Say what is wrong, where (file, line, item) and what to do; shown without a traceback, exit code 1.

    Each argument is a line: a line end within one is part of some name, and is shown escaped.
    """

    def __str__(self) -> str:
        """Return the lines, one below the other."""
        return "\n".join(self.args)
