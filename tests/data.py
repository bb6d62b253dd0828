"""Real images and real exports: packs beside the checkout, unpacked once per machine."""

import os
import tarfile
import tempfile
import zipfile
from pathlib import Path

import pytest

PACKS = Path(os.environ.get("ALCTL_DATA") or Path(__file__).parents[2] / "shared" / "data")


def archive(pack: str) -> Path:
    """Return the file of ``pack``, such as ``cifar10_test.tar.xz``; skip the test without it."""
    file = PACKS / pack
    if not file.is_file():
        if os.environ.get("ALCTL_REQUIRE_DATA"):
            pytest.fail(f"{file} is not there")
        pytest.skip(f"{file} is not there")
    return file


def real_data(pack: str) -> Path:
    """Return the folder with the files of a pack; skip the test without it.

    Other tests and later runs read the same folder: copy what a test is going to change.
    """
    file = archive(pack)
    cache = Path(tempfile.gettempdir()) / f"alctl-test-data-{os.getuid()}"
    cache.mkdir(mode=0o700, exist_ok=True)
    version = file.stat()
    unpacked = cache / f"{pack}-{version.st_size}-{version.st_mtime_ns}"
    if not unpacked.is_dir():
        with tempfile.TemporaryDirectory(dir=cache) as temporary:
            _unpack(file, Path(temporary) / pack)
            _move(Path(temporary) / pack, unpacked)
    return unpacked


def _move(folder: Path, unpacked: Path) -> None:
    try:
        folder.rename(unpacked)
    except OSError:
        if not unpacked.is_dir():  # otherwise another process was faster, and its copy is as good
            raise


def _unpack(file: Path, folder: Path) -> None:
    folder.mkdir()
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as members:
            for name in members.namelist():
                if not (folder / name).resolve().is_relative_to(folder.resolve()):
                    raise ValueError(f"{file} holds {name!r}, which is outside the folder it unpacks to")
            members.extractall(folder)
    else:
        with tarfile.open(file) as members:
            members.extractall(folder, filter="data")


def label_cases() -> Path:
    """Return the folder of label files as tools and people leave them; skip the test without it."""
    folder = PACKS.resolve().parent / "cases" / "labels"
    if not folder.is_dir():
        if os.environ.get("ALCTL_REQUIRE_DATA"):
            pytest.fail(f"{folder} is not there")
        pytest.skip(f"{folder} is not there")
    return folder
