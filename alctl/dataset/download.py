"""Datasets by name: what torchvision can download, written out as image files with a manifest."""

import csv
import json
import os
import re
import shutil
import socket
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from threading import Thread, current_thread
from typing import Any, TextIO, cast

from PIL import Image

from alctl.errors import AlctlError

MANIFEST = "manifest.csv"
ORIGIN = "dataset.json"
"""Says which dataset a folder holds, so that no other folder with a manifest is taken for one."""

_SOCKET_SECONDS = 15
_FIRST_BYTE_SECONDS = 30
_POLL_SECONDS = 0.5

_FLAG = (("train", {"train": True}), ("test", {"train": False}))
_NAMED = (("train", {"split": "train"}), ("test", {"split": "test"}))
_TRAINVAL = (("train", {"split": "trainval"}), ("test", {"split": "test"}))
_WITH_VALIDATION = (*_NAMED, ("validation", {"split": "val"}))
_WHOLE: tuple[tuple[str, dict[str, Any]], ...] = (("train", {}),)
_IDX = tuple(
    f"{part}-{kind}-ubyte.gz" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")
)


@dataclass(frozen=True)
class _Source:
    """How torchvision loads one dataset, and what can be fetched by hand where torchvision cannot."""

    loader: str  # class in torchvision.datasets
    splits: Sequence[tuple[str, Mapping[str, Any]]]  # folder of the split, the loader's keywords for it
    url: str  # where the files are, for a person
    files: Sequence[str]
    place: str = ""  # the folder below the root in which torchvision looks for the files
    classes: str = "classes"  # the loader's list of class names; "" where the numbers are the names
    originals: bool = False  # the loader can hand out its image files instead of decoded images


_SOURCES = {
    "caltech101": _Source(
        "Caltech101", _WHOLE, "https://data.caltech.edu/records/mzrjq-6wc02", ("caltech-101.zip",),
        place="caltech101", classes="categories",
    ),
    "caltech256": _Source(
        "Caltech256", _WHOLE, "https://data.caltech.edu/records/nyy15-4j048", ("256_ObjectCategories.tar",),
        place="caltech256", classes="categories",
    ),
    "cifar10": _Source("CIFAR10", _FLAG, "https://www.cs.toronto.edu/~kriz/", ("cifar-10-python.tar.gz",)),
    "cifar100": _Source("CIFAR100", _FLAG, "https://www.cs.toronto.edu/~kriz/", ("cifar-100-python.tar.gz",)),
    "dtd": _Source(
        "DTD", _WITH_VALIDATION, "https://www.robots.ox.ac.uk/~vgg/data/dtd/", ("dtd-r1.0.1.tar.gz",),
        place="dtd", originals=True,
    ),
    "eurosat": _Source(
        "EuroSAT", _WHOLE, "https://huggingface.co/datasets/torchgeo/eurosat", ("EuroSAT.zip",),
        place="eurosat", originals=True,
    ),
    "fashion-mnist": _Source(
        "FashionMNIST", _FLAG, "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/", _IDX,
        place="FashionMNIST/raw",
    ),
    "fgvc-aircraft": _Source(
        "FGVCAircraft", _WITH_VALIDATION, "https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/",
        ("fgvc-aircraft-2013b.tar.gz",), originals=True,
    ),
    "flowers102": _Source(
        "Flowers102", _WITH_VALIDATION, "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/",
        ("102flowers.tgz", "imagelabels.mat", "setid.mat"), place="flowers-102", originals=True,
    ),
    "food101": _Source(
        "Food101", _NAMED, "http://data.vision.ee.ethz.ch/cvl/", ("food-101.tar.gz",), originals=True,
    ),
    "gtsrb": _Source(
        "GTSRB", _NAMED, "https://sid.erda.dk/public/archives/daaeac0d7ce1152aea9b61d9f1e19370/",
        ("GTSRB-Training_fixed.zip", "GTSRB_Final_Test_Images.zip", "GTSRB_Final_Test_GT.zip"),
        place="gtsrb", classes="",
    ),
    "imagenette": _Source(
        "Imagenette", (("train", {"split": "train"}), ("validation", {"split": "val"})),
        "https://s3.amazonaws.com/fast-ai-imageclas/", ("imagenette2.tgz",), originals=True,
    ),
    "kmnist": _Source(
        "KMNIST", _FLAG, "http://codh.rois.ac.jp/kmnist/dataset/kmnist/", _IDX, place="KMNIST/raw",
    ),
    "mnist": _Source(
        "MNIST", _FLAG, "https://ossci-datasets.s3.amazonaws.com/mnist/", _IDX, place="MNIST/raw", classes="",
    ),
    "oxford-iiit-pet": _Source(
        "OxfordIIITPet", _TRAINVAL, "https://www.robots.ox.ac.uk/~vgg/data/pets/data/",
        ("images.tar.gz", "annotations.tar.gz"), place="oxford-iiit-pet",
    ),
    "stl10": _Source(
        "STL10", (*_NAMED, ("unlabeled", {"split": "unlabeled"})),
        "http://ai.stanford.edu/~acoates/stl10/", ("stl10_binary.tar.gz",),
    ),
    "svhn": _Source(
        "SVHN", _NAMED, "http://ufldl.stanford.edu/housenumbers/", ("train_32x32.mat", "test_32x32.mat"),
        classes="",
    ),
    "usps": _Source(
        "USPS", _FLAG, "https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass/",
        ("usps.bz2", "usps.t.bz2"), classes="",
    ),
}  # fmt: skip

NAMES = tuple(_SOURCES)


def write_out(name: str, folder: Path, progress: Callable[[str, int, int], None]) -> Path:
    """Write a dataset's images below ``folder``, whole or not at all, and return its manifest (path, label, split).

    Its own splits are kept. Images that torchvision can hand out as files are copied; the others become PNG files.
    A folder that was written before is used again. Files that were fetched by hand lie in ``<folder>.download``.
    ``progress`` is told what is done, how much of it, and how much there is (0 where nobody knows).
    """
    if name not in _SOURCES:
        raise AlctlError(f"{name} is not a dataset that can be downloaded; these are: {', '.join(NAMES)}")
    folder = folder.resolve()
    if _is_written(name, folder):
        progress(f"{folder} holds {name} already", 1, 1)
        return folder / MANIFEST
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        _build(name, _by_hand(folder), partial, progress)
        if folder.exists():
            folder.rmdir()
        (partial / "dataset").rename(folder)
    except OSError as error:
        raise AlctlError(f"cannot write {name} to {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder / MANIFEST


def _is_written(name: str, folder: Path) -> bool:
    """Tell whether ``folder`` holds the dataset; a folder that holds anything else is refused."""
    try:
        if json.loads((folder / ORIGIN).read_text(encoding="utf-8"))["name"] == name:
            return True
    except (OSError, ValueError, TypeError, KeyError):
        pass
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise AlctlError(f"{folder} holds something else than {name}; choose another folder")
    return False


def _by_hand(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.download")


def _build(name: str, by_hand: Path, partial: Path, progress: Callable[[str, int, int], None]) -> None:
    """Fetch the dataset and write it to ``partial/dataset``.

    torchvision works on a copy of the files that were fetched by hand, in a folder that never outlives this call:
    it takes a half unpacked archive for a whole one.
    """
    source = _SOURCES[name]
    root, written = partial / "download", partial / "dataset"
    if by_hand.is_dir():
        shutil.copytree(by_hand, root)
    root.mkdir(parents=True, exist_ok=True)
    written.mkdir()
    count = 0
    with (written / MANIFEST).open("w", encoding="utf-8", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(("path", "label", "split"))
        for split, keywords in source.splits:
            try:
                images = _open(name, keywords, root, progress)
            except Exception as error:  # whatever the libraries below torchvision raise
                reason = (
                    re.sub(r"<urlopen error (.*?)>", r"\1", " ".join(str(error).split()))
                    or type(error).__name__
                )
                raise AlctlError(
                    f"cannot download {name} ({reason}); check the network and run the command again, or put "
                    f"{', '.join(source.files)} from {source.url} into {by_hand / source.place} yourself"
                ) from error
            names = getattr(images, source.classes) if source.classes else None
            for done, row in enumerate(write_images(images, names, split, written), start=1):
                rows.writerow(row)
                if done % 64 == 0 or done == len(images):
                    progress(f"writing {name}, {split}", done, len(images))
            count += len(images)
    (written / ORIGIN).write_text(json.dumps({"name": name, "images": count}) + "\n", encoding="utf-8")


def write_images(
    images: Any, names: Sequence[Any] | None, split: str, folder: Path
) -> Iterator[tuple[str, str, str]]:
    """Write the (image or image file, class number) pairs of one split; yield path, label and split of each.

    Without ``names`` a class is called by its number; a number below zero means that the image has no label.
    """
    folders: dict[str, str] = {}
    counts: dict[str, int] = {}
    for index in range(len(images)):  # torchvision's datasets end by length, not by IndexError
        image, number = images[index]
        label = _label(names, int(number))
        if label not in folders:
            folders[label] = _folder_name(label, split, set(folders.values()))
            (folder / folders[label]).mkdir(parents=True)
        counts[label] = counts.get(label, 0) + 1
        original = Path(image if isinstance(image, str | Path) else getattr(image, "filename", ""))
        suffix = original.suffix.lower() or ".png"
        path = f"{folders[label]}/{counts[label]:05d}{suffix}"
        if original.name:
            shutil.copyfile(original, folder / path)
        else:
            image.save(folder / path)
        if isinstance(image, Image.Image):
            image.close()
        yield path, label, split


def _label(names: Sequence[Any] | None, number: int) -> str:
    if number < 0:
        return ""
    name = number if names is None else names[number]
    return str(name if isinstance(name, str | int) else name[0])  # Imagenette's classes are lists of synonyms


def _folder_name(label: str, split: str, taken: set[str]) -> str:
    """Return a folder for a class, below its split, that any operating system can make and tell from the others."""
    if not label:
        return split
    safe = re.sub(r"[^\w.-]+", "_", label).strip("._") or "class"
    if re.fullmatch(r"con|prn|aux|nul|(com|lpt)\d", safe.split(".")[0], re.IGNORECASE):
        safe = f"{safe}_"
    known = {name.lower() for name in taken}
    name, number = f"{split}/{safe}", 1
    while name.lower() in known:
        number += 1
        name = f"{split}/{safe}_{number}"
    return name


def _open(
    name: str, keywords: Mapping[str, Any], root: Path, progress: Callable[[str, int, int], None]
) -> Any:
    """Return one split as torchvision loads it, downloaded if it must be.

    It is fetched in a thread, so that a name server or a firewall that never answers cannot hold up the command.
    """
    import torchvision.datasets

    source = _SOURCES[name]
    loader = getattr(torchvision.datasets, source.loader)
    options = {**keywords, "download": True} | ({"loader": Path} if source.originals else {})
    future: Future[Any] = Future()

    def work() -> None:
        try:
            future.set_result(loader(root, **options))
        except BaseException as error:
            future.set_exception(error)

    worker = Thread(target=work, daemon=True)
    with _quiet(worker):
        worker.start()
        waited = 0.0
        while not wait([future], timeout=_POLL_SECONDS).done:
            waited += _POLL_SECONDS
            size = _bytes_below(root)
            if not size and waited > _FIRST_BYTE_SECONDS:
                raise TimeoutError(f"nothing has arrived within {_FIRST_BYTE_SECONDS} seconds")
            progress(f"downloading {name}, MB", size // 1_000_000, 0)
    return future.result()


def _bytes_below(root: Path) -> int:
    total = 0
    for folder, _, files in os.walk(root):
        for file in files:
            try:
                total += os.stat(os.path.join(folder, file)).st_size  # noqa: PTH116, PTH118 - many files, twice a second
            except OSError:  # unpacked, and deleted since
                continue
    return total


@contextmanager
def _quiet(worker: Thread) -> Iterator[None]:
    """Give up on a socket that stays silent, and keep what torchvision prints and warns of off the screen."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_SOCKET_SECONDS)
    try:
        with redirect_stderr(cast("TextIO", _Without(worker, sys.stderr))), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        socket.setdefaulttimeout(before)


class _Without:
    """A text stream without what one thread writes to it: torchvision draws a bar of its own there."""

    def __init__(self, thread: Thread, stream: TextIO) -> None:
        self._thread = thread
        self._stream = stream

    def write(self, text: str) -> int:
        """Write text, unless it comes from the thread."""
        return len(text) if current_thread() is self._thread else self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
