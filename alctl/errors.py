"""The one exception that is meant for a user."""


class AlctlError(Exception):
    """Say what is wrong, where (file, line, item) and what to do; shown without a traceback, exit code 1."""
