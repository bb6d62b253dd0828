"""The names of classes that a dataset brings: folders and manifests may call them anything."""

from collections.abc import Sequence

from alctl.errors import AlctlError
from alctl.labels.text import is_name, look_alikes, name_problem


def check_names(names: Sequence[str], known: Sequence[str]) -> None:
    """Refuse new classes that nothing can be called, and ask about those that are written nearly like others."""
    new = sorted({*names} - {*known})
    if bad := next((name for name in new if not is_name(name)), None):
        raise AlctlError(
            f"the dataset names a class {bad[:40]!r}, which {name_problem(bad)}; rename its folder, or mend the manifest"
        )
    for name, like in look_alikes(new, known).items():
        raise AlctlError(
            f"the dataset names classes {like!r} and {name!r}, which differ only in case or punctuation; write both alike, "
            "or name both with --classes (`alctl classes add` where there is a project) if they are two"
        )
