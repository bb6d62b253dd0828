"""`init`, `add` and `relink`: images of a folder or a manifest become items of the pool, or are found again."""

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import tee
from pathlib import Path, PurePath
from typing import NamedTuple

from sqlalchemy import Connection

from alctl.database import categories, items, labels, project_row, staged_images
from alctl.database.bulk import discard
from alctl.database.staged_images import Contradiction, StagedFile, StagedItem
from alctl.dataset import manifest, measure_levels
from alctl.dataset.class_names import check_names
from alctl.dataset.measure_levels import Measured, Sample
from alctl.dataset.reserved import default_reserved
from alctl.errors import AlctlError
from alctl.images import formats, scan
from alctl.images.levels import Range
from alctl.labels.annotation import KINDS, Split
from alctl.progress import Progress
from alctl.project import CONFIG, Project, config_text, connect, new_folder, now, required_state

SPLITS: dict[str, Split] = {
    "": "pool", "pool": "pool", "train": "pool", "training": "pool", "unlabeled": "pool",
    "val": "validation", "valid": "validation", "validation": "validation", "dev": "validation", "test": "test",
}  # fmt: skip
MANIFESTS = frozenset({".csv", ".tsv", ".jsonl"})


class Entry(NamedTuple):
    """One image file that a dataset names, with what the dataset says of it."""

    path: str
    split: Split = "pool"
    category: str | None = None
    columns: str | None = None
    """What a manifest says beside these, a JSON object of texts; None: nothing."""


@dataclass(frozen=True)
class Dataset:
    """Where images come from: their root folder and a stream of entries that can be started again."""

    root: Path
    entries: Callable[[], Iterator[Entry]]
    skipped: list[scan.Skipped] = field(default_factory=list)


@dataclass(frozen=True)
class Options:
    """What `init` may be told."""

    task: str = KINDS[0]
    classes: Sequence[str] = ()
    validation: int | None = None
    test: int | None = None
    seed: int = 0
    verify: bool = False
    dry_run: bool = False
    database: str = ""
    levels: Range | None = None
    """What black and white are in images that do not say so; None: measured on a sample."""


@dataclass
class Ingested:
    """What became of the files of a dataset, for the screen and for --json."""

    root: str
    items: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    broken: list[StagedFile] = field(default_factory=list)
    duplicates: list[StagedFile] = field(default_factory=list)
    changed: list[StagedFile] = field(default_factory=list)
    contradictions: list[Contradiction] = field(default_factory=list)
    skipped: list[scan.Skipped] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    labels: int = 0
    validation: int = 0
    test: int = 0
    several: list[str] = field(default_factory=list)
    """Files of several pages or frames, of which the first counts."""
    levels: list[Measured] = field(default_factory=list)
    """What black and white are in images of more than 8 bits, where that was settled just now."""
    found_again: list[StagedFile] = field(default_factory=list)
    """Files that have the bytes of an image whose own file is gone: it has their path from now on."""


def folder_dataset(root: Path, *, class_folders: bool) -> Dataset:
    """Read a folder of images; with ``class_folders`` its folders are classes, below split folders if it has them."""
    if not root.is_dir():
        raise AlctlError(
            f"{root} is not a folder; give a folder of images, a .csv or .jsonl manifest, or a dataset name"
        )
    resolved = _utf8_root(root)
    splits = _split_folders(resolved) if class_folders else {}
    skipped: list[scan.Skipped] = []

    def entries() -> Iterator[Entry]:
        skipped.clear()
        for path in scan.walk(resolved, skipped):
            yield _entry_of(path, splits) if class_folders else Entry(path)

    return Dataset(resolved, entries, skipped)


def _split_folders(root: Path) -> dict[str, Split]:
    """Return the split of each top folder, if they are splits: a training or pool folder and at least one other.

    A folder that holds only "validation" is more likely a class or a stray name than a dataset's own split.
    """
    found = {
        entry.name: SPLITS[entry.name.lower()] for entry in root.iterdir() if entry.name.lower() in SPLITS
    }
    return found if len(found) > 1 and "pool" in found.values() else {}


def _entry_of(path: str, splits: dict[str, Split]) -> Entry:
    folders = path.split("/")[:-1]
    split: Split = "pool"
    if folders and folders[0] in splits:
        split = splits[folders.pop(0)]
    return Entry(path, split, folders[0].strip() or None if folders else None)


def manifest_dataset(file: Path) -> Dataset:
    """Read a .csv, .tsv or .jsonl manifest with columns path, and optionally label, split and others, which are kept."""
    root = _utf8_root(file.parent)

    def entries() -> Iterator[Entry]:
        for line, row in manifest.rows(file):
            path = "" if row.get("path") is None else str(row["path"])  # a name may begin or end with a space
            split, category = (manifest.text(row.get(key)) for key in ("split", "label"))
            if not path.strip():
                raise AlctlError(f"{file}, line {line}: no path")
            if "\0" in path or not _is_unicode(path):
                raise AlctlError(f"{file}, line {line}: no file can be called {path!r}")
            if split.lower() not in SPLITS:
                raise AlctlError(f"{file}, line {line}: split {split!r} is none of train, validation, test")
            yield Entry(_relative(path, root), SPLITS[split.lower()], category or None, manifest.columns(row))

    return Dataset(root, entries)


def _is_unicode(name: str) -> bool:
    """Tell whether a name can be stored as text: that of a file may hold any bytes."""
    try:
        return bool(name.encode())
    except UnicodeEncodeError:
        return False


def _utf8_root(folder: Path) -> Path:
    """Return the absolute folder, which the database keeps as text."""
    root = folder.resolve()
    if not _is_unicode(str(root)):
        raise AlctlError(f"the name of the folder {str(root)!r} is not valid UTF-8; rename it")
    return root


def without_pool_labels(dataset: Dataset) -> Dataset:
    """Keep only the labels of validation and test images: the pool's are for the annotators to find out."""

    def entries() -> Iterator[Entry]:
        for entry in dataset.entries():
            yield entry._replace(category=None) if entry.split == "pool" else entry

    return Dataset(dataset.root, entries, dataset.skipped)


def _relative(path: str, root: Path) -> str:
    """Return a path relative to ``root``, with forward slashes, whether it was absolute or not."""
    clean = path.replace("\\", "/") if os.sep == "/" and "\\" in path and "/" not in path else path
    absolute = os.path.normpath(os.path.join(root, clean))  # noqa: PTH118 - no symbolic link may be resolved
    return PurePath(os.path.relpath(absolute, root)).as_posix()


def create(folder: Path, dataset: Dataset, options: Options, progress: Progress) -> Ingested:
    """Make a project of a dataset, whole or not at all; with ``dry_run`` only say what would be in it."""
    with new_folder(folder, keep=not options.dry_run) as partial:
        (partial / CONFIG).write_text(config_text(database=options.database), encoding="utf-8")
        project = connect(partial)
        try:
            return _fill(project, dataset, options, progress)
        finally:
            project.engine.dispose()


def _fill(project: Project, dataset: Dataset, options: Options, progress: Progress) -> Ingested:
    """Write everything that `init` writes into the empty database of a project."""
    report = Ingested(root=str(dataset.root))
    with project.writing("init") as connection:
        if project_row.project_row(connection) is not None:
            raise AlctlError("the database already holds a project; give each project a database of its own")
        project_row.create_project(
            connection, root=str(dataset.root), task=options.task, seed=options.seed, now=now()
        )
        categories.add_categories(connection, options.classes)
        _ingest(connection, dataset, options, report, progress)
        if not report.counts["new"]:
            raise AlctlError(f"no usable image in {dataset.root}{_why_not(report)}")
        _reserve(connection, options, report)
        if options.dry_run:
            discard(connection)
    return report


def add(project: Project, dataset: Dataset, options: Options, progress: Progress) -> Ingested:
    """Extend the pool with what is new in a dataset; what is known already stays as it is."""
    with project.writing("add") as connection:
        root = Path(required_state(connection, project.folder).root)
        if not root.is_dir():
            raise AlctlError(
                f"the images are no longer in {root}; say where they are: `alctl relink NEW_FOLDER`"
            )
        report = Ingested(root=str(dataset.root))
        _ingest(connection, _seen_from(root, dataset), options, report, progress)
        _reserve(connection, options, report)
        if options.dry_run:
            discard(connection)
    return report


def _seen_from(root: Path, dataset: Dataset) -> Dataset:
    """Give a dataset's paths relative to the project's root."""
    if dataset.root == root:
        return dataset

    def entries() -> Iterator[Entry]:
        for entry in dataset.entries():
            path = os.path.relpath(os.path.join(dataset.root, entry.path), root)  # noqa: PTH118 - links stay as they are
            yield entry._replace(path=PurePath(path).as_posix())

    return Dataset(root, entries, dataset.skipped)


def _ingest(
    connection: Connection, dataset: Dataset, options: Options, report: Ingested, progress: Progress
) -> None:
    """Probe every file of the dataset, merge it into the pool, and fill in the report."""
    sample = Sample()
    several: list[str] = []

    def see(path: str, probe: scan.Probe) -> None:
        sample.see(path, probe)
        if probe.several:
            several.append(path)

    doubted = items.broken(connection)  # --verify may have found it, and only that finds it again
    rows = staged(dataset, progress, verify=options.verify, doubted=doubted, see=see)
    staged_images.stage(connection, rows)
    staged_images.rename_staged(connection, categories.former_names(connection))
    report.counts = dict.fromkeys(
        ("new", "known", "duplicate", "broken", "repaired", "changed", "found again"), 0
    )
    report.counts |= staged_images.decide_fates(
        connection,
        lambda path: os.path.lexists(os.path.join(dataset.root, path)),  # noqa: PTH118
    )
    report.several = several
    report.levels = measure_levels.settle(connection, dataset.root, sample, options.levels)
    report.contradictions = staged_images.contradictions(connection)
    named = staged_images.staged_categories(connection)
    if options.classes and (strange := sorted(set(named) - set(options.classes))):
        raise AlctlError(f"the dataset names classes that --classes does not: {', '.join(strange[:20])}")
    check_names(named, [*categories.resolver(connection)])
    categories.add_categories(connection, named)
    staged_images.merge(connection)
    report.labels = labels.write_initial(connection, source=report.root, now=now())
    report.broken = staged_images.staged_files(connection, "broken")
    report.duplicates = staged_images.staged_files(connection, "duplicate")
    report.changed = staged_images.staged_files(connection, "changed")
    report.found_again = staged_images.staged_files(connection, "found again")
    report.skipped = list(dataset.skipped)
    report.classes = categories.categories(connection)
    report.items = items.size(connection)


def staged(
    dataset: Dataset,
    progress: Progress,
    *,
    verify: bool = False,
    doubted: Collection[str] = (),
    see: Callable[[str, scan.Probe], None] = lambda path, probe: None,
) -> Iterator[StagedItem]:
    """Yield each entry with what its file is, and let ``see`` know.

    The entries wait in a second iterator while the files are read.
    """
    total = sum(1 for _ in dataset.entries())
    entries, again = tee(dataset.entries())
    probes = scan.probe_all(
        str(dataset.root), (entry.path for entry in entries), verify=verify, doubted=doubted
    )
    for position, ((_, probe), entry) in enumerate(zip(probes, again, strict=True)):
        if position % 64 == 0 or position + 1 == total:
            progress("reading images", position + 1, total)
        see(entry.path, probe)
        yield StagedItem(
            position,
            entry.path,
            probe.digest,
            probe.width,
            probe.height,
            probe.problem,
            entry.split,
            entry.category,
            entry.columns,
        )


def _reserve(connection: Connection, options: Options, report: Ingested) -> None:
    """Draw the validation and test images that were asked for; by default, unless the dataset brings its own."""
    seed = options.seed
    for split in ("test", "validation"):
        wanted = getattr(options, split)
        n = default_reserved(split, report.counts["new"]) if wanted is None else wanted
        if wanted is None and items.has_split(connection, split):
            n = 0
        if n:
            drawn = items.reserve(connection, split, n, seed)
            setattr(report, split, drawn)


def _why_not(report: Ingested) -> str:
    if report.broken:
        return f": {len(report.broken)} files are broken, the first is {report.broken[0].path}"
    return f" ({', '.join(sorted(formats.readable()))} are read)"
