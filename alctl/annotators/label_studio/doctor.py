"""`alctl doctor`: what has to be set up before an annotators' tool can show the images, each with what to do."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from alctl.annotators.label_studio import place
from alctl.annotators.label_studio.place import ROOT, SWITCH
from alctl.annotators.label_studio.server import Server
from alctl.errors import AlctlError
from alctl.labels.format import FORMATS
from alctl.plugins import unknown
from alctl.project import Project

_PUSH = "push a round, which makes it: alctl push ROUND --to URL"


class Check(NamedTuple):
    """One thing that has to be so."""

    name: str
    ok: bool
    advice: str = ""
    """What to do about it; empty if it is so."""


def checks(
    project: Project, kind: str, address: str = "", *, token_variable: str = "", title: str = ""
) -> list[Check]:
    """Return what a tool needs: on this machine, or on the server at ``address``; formats of files alone need nothing."""
    if kind not in FORMATS.names():
        raise AlctlError(unknown(kind, FORMATS.names(), "formats"))
    if kind != place.TOOL:
        return []
    if not address:
        return list(_of_this_machine(project))
    found: list[Check] = []
    try:
        with place.connect(address, token_variable) as server:
            for check in _of_server(project, server, title):
                found.append(check)
    except AlctlError as error:
        found.append(Check("the server answers", ok=False, advice=str(error)))
    return found


def _of_this_machine(project: Project) -> Iterator[Check]:
    """Yield what Label Studio needs to show files of this machine, if it is started with this environment."""
    shell = "then start Label Studio from the same shell"
    yield _check(
        f"{SWITCH} is true here", _is_true(os.environ.get(SWITCH, "")), f"export {SWITCH}=true, {shell}"
    )
    root = os.environ.get(ROOT, "")
    yield _check(f"{ROOT} is set here", root, f"export {ROOT}={project.folder}, {shell}")
    if root:
        exists = Path(root).is_dir()
        yield _check(
            f"{root} is a folder", exists, f"set {ROOT} to a folder that exists, such as {project.folder}"
        )
        below = place.served(root, project.rounds)
        yield _check(f"{project.rounds} lies below {root}", below, place.root_advice(project, root))
    yield _readable(project)


def _of_server(project: Project, server: Server, title: str) -> Iterator[Check]:
    """Yield what a running server needs to show the project's images."""
    yield Check(f"{server.address} is Label Studio {server.version()}", ok=True)
    yield Check(f"it accepts the token, which is that of {server.user()}", ok=True)
    found = place.find(project, server, title)
    if found is None:
        # Nothing is wrong before the first push, which makes the project; a title that was given has to be there.
        name = f"it has the project {title or place.default_title(project)!r}"
        if title or _was_pushed(project, server):
            yield Check(name, ok=False, advice=_PUSH)
        else:
            yield Check(
                f"{name} once a round is pushed to it: alctl push ROUND --to {server.address}", ok=True
            )
        return
    yield Check(f"it has the project {found.title!r}, number {found.id}", ok=True)
    problem = server.storage_problem(found.id, str(project.rounds))
    advice = place.storage_advice(project, problem)
    yield _check(f"it may show files below {project.rounds}", not problem, advice)
    covered = place.connected(project, server, found.id)
    yield _check(f"a local-files storage connection covers {project.rounds}", covered, _PUSH)
    readable = _readable(project)
    yield readable
    image = place.exported_image(project)
    if image is not None and readable.ok:
        unseen = place.unseen(project, server, found.id, image)
        yield _check(f"it shows {image.name} to the token's user", not unseen, unseen)


def _was_pushed(project: Project, server: Server) -> bool:
    """Tell whether a round was pushed to the server before."""
    return any(True for _ in place.pushed_to(project, server))


def _readable(project: Project) -> Check:
    """Check that an image of a round lies there and can be read."""
    image = place.exported_image(project)
    if image is None:
        return Check("a round is exported", ok=False, advice="alctl export ROUND --format label-studio")
    try:
        with image.open("rb") as stream:
            stream.read(1)
    except OSError as error:
        advice = f"{error.strerror}: let the user that runs Label Studio read it"
        return Check(f"{image} can be read", ok=False, advice=advice)
    return Check(f"{image} can be read", ok=True)


def _is_true(value: str) -> bool:
    """Tell whether Label Studio takes the value of a variable for yes."""
    return value.lower() in {"true", "1", "yes", "on", "y", "t"}


def _check(name: str, is_so: object, advice: str) -> Check:
    """Return a check with its advice, which is dropped where all is well."""
    return Check(name, ok=bool(is_so), advice="" if is_so else advice)
