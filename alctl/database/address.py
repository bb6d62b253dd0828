"""Where a project's database is: a URL, or a file that holds one, so that no password stands where others read it."""

import os
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from alctl.errors import AlctlError
from alctl.files import readable

ENVIRONMENT = "ALCTL_DATABASE"
_PLACES = (
    f"leave it out and let ~/.pgpass hold it, or put the whole URL into a file that only you can read and give that "
    f"file instead of the URL, or into the variable {ENVIRONMENT}"
)


def address(named: str, folder: Path) -> URL:
    """Return the URL that a setting or variable means: itself, or what stands in the file that it names.

    ``folder`` is where a relative path begins. AlctlError if everybody may read a file that holds a password.
    """
    if "://" in named:
        return parsed(named)
    file = folder / Path(named).expanduser()
    with readable(file):
        url = parsed(file.read_text(encoding="utf-8").strip(), f"what stands in {file}")
    if problem := exposed(url, file):
        raise AlctlError(problem)
    return url


def parsed(url: str, what: str = "what is given") -> URL:
    """Return a URL by its parts; the AlctlError for what is none does not show it, since a password may be in it."""
    try:
        return make_url(url)
    except (ArgumentError, ValueError):
        raise AlctlError(
            f"{what} is not a database URL like postgresql://user@host/name (in a password, %, /, @ and : are written as "
            "%25, %2F, %40 and %3A)"
        ) from None


def exposed(url: URL, file: Path) -> str:
    """Return what is wrong if everybody on the machine may read the password of a URL in a file, else nothing."""
    if url.password is None or os.name == "nt" or not file.stat().st_mode & 0o007:
        return ""
    return f"everybody on this machine may read the password of the database in {file}: chmod 600 {file}"


def to_write_down(named: str) -> str:
    """Return how `init` writes a database into the settings: a URL as it is, the absolute path of a file.

    AlctlError for a URL with a password, which others read there, and in the list of processes.
    """
    if "://" not in named:
        return str(Path(named).expanduser().absolute()) if named else ""
    if parsed(named).password is not None:
        raise AlctlError(
            f"the password in --database could be read by others, in alctl.toml and in the list of processes: {_PLACES}"
        )
    return named
