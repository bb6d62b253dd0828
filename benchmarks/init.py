"""How fast is `alctl init`, against a bare loop that reads the same files and against the obvious program?

Command:  python -m benchmarks.init
Hardware: 2-core x86-64, no GPU, other work beside it: read the ratios, not the seconds
Date:     2026-11-21

| images | alctl init | bare | naive | init/bare | init/naive |
|---|---|---|---|---|---|
| CIFAR-10, 50,000 files, 1 kB each | 13,920/s (1.6 CPU s) | 39,419/s (0.6 CPU s) | 3,098/s (7.0 CPU s) | 0.39x | 4.96x |
| photographs, 5,120 files, 173 kB each | 6,713/s (0.9 CPU s) | 7,978/s (0.6 CPU s) | 4,053/s (1.2 CPU s) | 0.92x | 2.04x |

Wanted: 0.8x of bare, 5x naive. Photographs reach the first; small images come to the second within 1 %. For a file of
1 kB the bare loop takes 12 microseconds, and the project's tables and their two unique indexes alone take nearly as
long; for photographs the naive program spends most of its time on reading and hashing, as anybody must.

"bare" lists the folder, reads every file and hashes it (sha256), in one process. "naive" is pathlib's rglob, Pillow
for the size, sha256, and one SQLAlchemy ORM object per file, committed every 1,000. `alctl init` also sorts, checks
that every file is whole, finds duplicates, and writes the project in one transaction; it may use every core. Files
are in the page cache, the rounds interleaved, the ratios medians of the ratios within a round.
"""

import argparse
import hashlib
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from PIL import Image
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from alctl.dataset import index
from tests.data import real_data


class Base(DeclarativeBase):
    """What SQLAlchemy wants to know its tables by."""


class Row(Base):
    """One file."""

    __tablename__ = "item"
    id: Mapped[int] = mapped_column(primary_key=True)
    path: Mapped[str] = mapped_column(unique=True)
    digest: Mapped[bytes] = mapped_column(unique=True)
    width: Mapped[int]
    height: Mapped[int]


def alctl_init(root: Path, work: Path) -> int:
    dataset = index.folder_dataset(root, class_folders=False)
    return index.create(work / "project", dataset, index.Options(), lambda *_: None).items


def bare(root: Path, work: Path) -> int:
    count = 0
    for folder, _, files in os.walk(root):
        for file in files:
            with open(os.path.join(folder, file), "rb") as stream:  # noqa: PTH118, PTH123 - the fastest way there is
                hashlib.sha256(stream.read()).digest()
            count += 1
    return count


def naive(root: Path, work: Path) -> int:
    engine = create_engine(f"sqlite:///{work / 'naive.db'}")
    Base.metadata.create_all(engine)
    count = 0
    with Session(engine) as session:
        for path in root.rglob("*"):
            if path.is_file():
                with Image.open(path) as image:
                    width, height = image.size
                digest = hashlib.sha256(path.read_bytes()).digest()
                session.add(Row(path=str(path.relative_to(root)), digest=digest, width=width, height=height))
                count += 1
                if count % 1000 == 0:
                    session.commit()
        session.commit()
    engine.dispose()
    return count


def cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def timed(function: Callable[[Path, Path], int], root: Path) -> tuple[float, float, int]:
    with tempfile.TemporaryDirectory() as work:
        cpu, start = cpu_seconds(), time.perf_counter()
        count = function(root, Path(work))
        return time.perf_counter() - start, cpu_seconds() - cpu, count


def photos(folder: Path, copies: int) -> Path:
    """Copy the photographs of coco128, each copy with a comment of its own behind the start of the JPEG file."""
    for number, path in enumerate(sorted(real_data("coco128_train.tar.xz").rglob("*.jpg"))):
        data = path.read_bytes()
        for copy in range(copies):
            comment = f"{copy:08d}".encode()
            target = folder / f"{copy:03d}" / f"{number:03d}.jpg"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data[:2] + b"\xff\xfe\x00\x0a" + comment + data[2:])
    return folder


def unique_images(source: Path, folder: Path) -> Path:
    """Copy the images without those whose bytes are there already, which the naive program cannot store."""
    seen: set[bytes] = set()
    for path in sorted(source.rglob("*.jpg")):
        data = path.read_bytes()
        digest = hashlib.sha256(data).digest()
        if digest not in seen:
            seen.add(digest)
            target = folder / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
    return folder


def report(title: str, root: Path, rounds: int) -> None:
    size = sum(path.stat().st_size for path in root.rglob("*.jpg"))
    programs = {"alctl init": alctl_init, "bare": bare, "naive": naive}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in programs}
    counts = set()
    for _ in range(rounds):
        for name, program in programs.items():
            wall, cpu, count = timed(program, root)
            times[name].append((wall, cpu))
            counts.add(count)
    (count,) = counts
    print(f"| {title}, {count:,} files, {size / count / 1000:,.0f} kB each |", end="")
    for name, measured in times.items():
        print(f" {count / median(wall for wall, _ in measured):,.0f}/s", end="")
        print(f" ({median(cpu for _, cpu in measured):.1f} CPU s) |" if name else " |", end="")
    for other in ("bare", "naive"):
        pairs = zip(times["alctl init"], times[other], strict=True)
        print(f" {median(theirs[0] / ours[0] for ours, theirs in pairs):.2f}x |", end="")
    print()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--copies", type=int, default=40, help="of each of 128 photographs")
    args = parser.parse_args()
    print("| images | alctl init | bare | naive | init/bare | init/naive |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        cifar = unique_images(real_data("cifar10_train.tar.xz"), Path(folder) / "cifar")
        report("CIFAR-10", cifar, args.rounds)
        shutil.rmtree(cifar)
        report("photographs", photos(Path(folder) / "photos", args.copies), args.rounds)


if __name__ == "__main__":
    main()
