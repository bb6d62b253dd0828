"""Where a round goes on a Label Studio server: its address, its token, its project, and whether it shows the images.

A server shows files of its own disk, by hard link or not, if they lie below its document root and a "storage
connection" of the project covers their folder. It says neither by itself; it does say why it refuses a folder.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

from alctl.annotators.label_studio.server import Server, ServerProject
from alctl.database import handouts
from alctl.errors import AlctlError
from alctl.project import Project

TOOL = "label-studio"
SWITCH = "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED"
ROOT = "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT"
TOKEN_VARIABLE = "LABEL_STUDIO_API_KEY"
SERVICE = "alctl"
"""Under which the token is kept in the system's keyring; the user is the server's address."""
TITLE = 50
"""Characters that Label Studio takes."""
UPLOAD = "or push with --upload, which sends the images themselves"


def connect(address: str, token_variable: str = "") -> Server:
    """Return a server; it has not been asked anything yet."""
    checked = checked_address(address)
    return Server(checked, find_token(checked, token_variable))


def checked_address(address: str) -> str:
    """Return a server's address without a slash at its end; AlctlError if it is not one, or holds a password."""
    parts = urlsplit(address)
    if parts.username is not None or parts.password is not None:
        raise AlctlError(
            "the address of the server holds a user or a password; leave them out, alctl uses a token"
        )
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise AlctlError(f"{address!r} is not the address of a server, such as http://localhost:8080")
    if parts.query or parts.fragment:
        raise AlctlError(f"{address!r}: give the server's address without what stands after '?' or '#'")
    return address.rstrip("/")


def find_token(address: str, variable: str = "") -> str:
    """Return the token from the environment, or else from the system's keyring; it is never stored."""
    name = variable or TOKEN_VARIABLE
    token = os.environ.get(name, "").strip() or ("" if variable else _kept_token(address))
    if not token:
        raise AlctlError(
            f"there is no token for {address}: copy one from the server's Account & Settings page (Access Token) and "
            f"set the environment variable {name}, or keep it with `keyring set {SERVICE} {address}`"
        )
    if not (token.isascii() and token.isprintable()):
        raise AlctlError(
            f"what {name} or the keyring holds is not a token: it has characters that no token has"
        )
    return token


def _kept_token(address: str) -> str:
    """Return the token that the system's keyring holds for a server; empty if there is none, or no keyring."""
    try:
        import keyring
        import keyring.errors
    except ImportError:
        return ""
    try:
        return (keyring.get_password(SERVICE, address) or "").strip()
    except keyring.errors.KeyringError:  # a machine without any keyring
        return ""


def default_title(project: Project) -> str:
    """Return what the server's project is called unless the user says otherwise."""
    return f"alctl {project.name}"[:TITLE]


def find(project: Project, server: Server, title: str = "") -> ServerProject | None:
    """Return the server's project with this title; without one, that of the last push, or the one named by default."""
    if len(title) > TITLE:
        raise AlctlError(f"Label Studio takes no title of more than {TITLE} characters: {title!r}")
    if not title:
        for number in pushed_to(project, server):
            if (found := server.project(number)) is not None:
                return found
    wanted = title or default_title(project)
    same = server.projects(wanted)
    if len(same) > 1:
        numbers = ", ".join(str(found.id) for found in same)
        raise AlctlError(
            f"{server.address} has {len(same)} projects called {wanted!r} ({numbers}); rename all but one"
        )
    return same[0] if same else None


def address_of(server: Server, number: int) -> str:
    """Return the address of a project of the server."""
    return f"{server.address}/projects/{number}"


def split_address(place: str) -> tuple[str, int]:
    """Return the server and the number of the project of an `address_of`."""
    base, _, number = place.rpartition("/projects/")
    return base, int(number)


def pushed_to(project: Project, server: Server) -> Iterator[int]:
    """Yield the server's projects that rounds were pushed to, newest first."""
    with project.reading() as connection:
        known = handouts.find(connection, tool=TOOL)
    places = dict.fromkeys(
        split_address(row.place) for row in reversed(known) if handouts.is_address(row.place)
    )
    return (number for base, number in places if base == server.address)


def exported_image(project: Project) -> Path | None:
    """Return one image that lies ready for annotators; None if no round is exported."""
    return next(project.rounds.glob("[0-9]*/images/*"), None) if project.rounds.is_dir() else None


def served(root: str, path: Path) -> str:
    """Return a path relative to a document root, with forward slashes; empty if it is not below the root."""
    for known in (Path(root), Path(os.path.realpath(root))):
        if path != known and path.is_relative_to(known):
            return path.relative_to(known).as_posix()
    return ""


def image_address(root: str, image: Path) -> str:
    """Return where a server with this document root shows a file; empty if it does not."""
    relative = served(root, image)
    return f"/data/local-files/?d={quote(relative)}" if relative else ""


def document_root(server: Server, number: int) -> str:
    """Return the server's document root: what it says, or what is set here."""
    root = server.document_root(number) or os.environ.get(ROOT, "")
    if not root:
        raise AlctlError(
            f"{server.address} does not tell its document root; set {ROOT} here to what it was started with, {UPLOAD}"
        )
    return root


def connected(project: Project, server: Server, number: int) -> bool:
    """Tell whether a storage connection of the server's project covers the rounds."""
    real = Path(os.path.realpath(project.rounds))
    return any(real.is_relative_to(os.path.realpath(folder)) for folder in server.storages(number))


def storage_advice(project: Project, problem: str) -> str:
    """Return what to do about a folder that the server would not connect, from what it says about it."""
    folder = project.rounds
    if "does not exist" in problem:
        return (
            f"the server does not see {folder}: if it runs on another machine or in a container, give it that folder "
            f"under the same path, {UPLOAD}"
        )
    if "subdirectory" in problem or "cannot be the same" in problem:
        return root_advice(project, problem.partition('DOCUMENT_ROOT="')[2].partition('"')[0])
    if "SERVING_ENABLED" in problem:
        return f"it shows no local files: start it with {SWITCH}=true and {ROOT}={project.folder}, {UPLOAD}"
    return problem


def root_advice(project: Project, root: str = "") -> str:
    """Return what to do about a document root that the rounds are not below."""
    now = f"; it is {root} now" if root else ""
    return (
        f"{project.rounds} has to lie below the document root{now}: start Label Studio with {ROOT}={project.folder}, "
        f"or a folder above it, {UPLOAD}"
    )


def unseen(project: Project, server: Server, number: int, image: Path) -> str:
    """Return what to do so that the server shows an image; empty if it shows it, byte for byte."""
    root = document_root(server, number)
    address = image_address(root, image)
    if not address:
        return root_advice(project, root)
    status, content = server.fetch(address)
    if status == 200:
        other = (
            f"{address} is another file there than {image} is here; does the server run on another machine?"
        )
        return "" if content == image.read_bytes() else other
    why = {
        401: "it does not accept the token for images",
        403: f"it shows no local files: start it with {SWITCH}=true",
        404: f"no storage connection covers it, or the user that runs the server may not read {image}",
    }.get(status, "its log says why")
    return f"{address} gives status {status}: {why}; {UPLOAD}"
