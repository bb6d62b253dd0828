"""Datasets by name, through torchvision's own loaders on real files, and without a network."""

import csv
import gzip
import json
import shutil
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alctl.dataset.download import NAMES, write_images, write_out
from alctl.dataset.index import manifest_dataset
from alctl.errors import AlctlError
from tests.data import real_data

N = 1_000


def ignore(what: str, done: int, total: int) -> None:
    pass


def rows(manifest: Path) -> list[dict[str, str]]:
    with manifest.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def everything_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 1,000 of MNIST's test digits as if they were all of MNIST, put there by hand, and what came of them."""
    folder = tmp_path_factory.mktemp("digits")
    raw = folder / "mnist.download" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    packed = real_data("mnist_t10k.zip") / "mnist_t10k"
    for kind in ("images-idx3-ubyte", "labels-idx1-ubyte"):
        data = gzip.decompress((packed / f"t10k-{kind}.gz").read_bytes())
        header, size = (16, 28 * 28) if "images" in kind else (8, 1)
        data = data[:4] + N.to_bytes(4, "big") + data[8 : header + N * size]
        for part in ("train", "t10k"):
            (raw / f"{part}-{kind}").write_bytes(data)
    write_out("mnist", folder / "mnist", ignore)
    return folder


def test_every_digit_becomes_a_png_file_with_its_pixels_label_and_split(digits):
    written = rows(digits / "mnist" / "manifest.csv")
    assert len(written) == 2 * N
    assert Counter(row["split"] for row in written) == {"train": N, "test": N}
    raw = digits / "mnist.download" / "MNIST" / "raw"
    pixels = np.frombuffer((raw / "t10k-images-idx3-ubyte").read_bytes(), np.uint8, offset=16)
    labels = np.frombuffer((raw / "t10k-labels-idx1-ubyte").read_bytes(), np.uint8, offset=8)
    assert [row["label"] for row in written] == [str(label) for label in labels] * 2
    for index in (0, 432, N - 1, N, 2 * N - 1):
        with Image.open(digits / "mnist" / written[index]["path"]) as image:
            assert image.format == "PNG"
            assert np.array_equal(np.asarray(image), pixels.reshape(-1, 28, 28)[index % N])
    assert written[0]["path"] == "train/7/00001.png"
    assert len({row["path"] for row in written}) == 2 * N


def test_the_manifest_can_be_indexed(digits):
    entries = list(manifest_dataset(digits / "mnist" / "manifest.csv").entries())
    assert Counter(entry.split for entry in entries) == {"pool": N, "test": N}
    assert {entry.category for entry in entries} == set("0123456789")


def test_nothing_else_stays_behind(digits):
    assert sorted(path.name for path in digits.iterdir()) == ["mnist", "mnist.download"]
    assert sorted(path.name for path in (digits / "mnist").iterdir()) == [
        "dataset.json",
        "manifest.csv",
        "test",
        "train",
    ]


def test_a_written_dataset_is_used_again_and_that_is_said(digits):
    file = digits / "mnist" / "manifest.csv"
    before = file.stat().st_mtime_ns
    said: list[str] = []
    assert write_out("mnist", digits / "mnist", lambda what, done, total: said.append(what)) == file
    assert file.stat().st_mtime_ns == before
    assert said == [f"{digits / 'mnist'} holds mnist already"]


def test_a_folder_with_something_else_is_refused_and_left_alone(digits, tmp_path):
    with pytest.raises(AlctlError, match="holds something else than cifar10"):
        write_out("cifar10", digits / "mnist", ignore)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "manifest.csv").write_text("path,label,split\n")
    with pytest.raises(AlctlError, match="holds something else than mnist"):
        write_out("mnist", tmp_path / "own", ignore)
    assert everything_below(tmp_path) == ["own", "own/manifest.csv"]


def test_files_of_caltech_are_copied_as_they_are(tmp_path):
    photos = sorted(real_data("clothing_dev.zip").rglob("*.jpg"))[:3]
    categories = tmp_path / "c.download" / "caltech101" / "101_ObjectCategories"
    for category, number, photo in (
        ("ant", 1, 0),
        ("ant", 2, 1),
        ("BACKGROUND_Google", 1, 1),
        ("yin_yang", 1, 2),
    ):
        (categories / category).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(photos[photo], categories / category / f"image_{number:04d}.jpg")
    manifest = write_out("caltech101", tmp_path / "c", ignore)
    written = rows(manifest)
    assert [tuple(row.values()) for row in written] == [
        ("train/ant/00001.jpg", "ant", "train"),
        ("train/ant/00002.jpg", "ant", "train"),
        ("train/yin_yang/00001.jpg", "yin_yang", "train"),
    ]
    assert [(tmp_path / "c" / row["path"]).read_bytes() for row in written] == [
        p.read_bytes() for p in photos
    ]


def test_a_loader_that_knows_its_files_hands_them_out_undecoded(tmp_path):
    photos = sorted(real_data("clothing_dev.zip").rglob("*.jpg"))[:2]
    food = tmp_path / "f.download" / "food-101"
    (food / "meta").mkdir(parents=True)
    (food / "images" / "apple_pie").mkdir(parents=True)
    for number, split in enumerate(("train", "test")):
        shutil.copyfile(photos[number], food / "images" / "apple_pie" / f"{number}.jpg")
        (food / "meta" / f"{split}.json").write_text(json.dumps({"apple_pie": [f"apple_pie/{number}"]}))
    written = rows(write_out("food101", tmp_path / "f", ignore))
    assert [row["path"] for row in written] == ["train/apple_pie/00001.jpg", "test/apple_pie/00001.jpg"]
    assert [(tmp_path / "f" / row["path"]).read_bytes() for row in written] == [
        p.read_bytes() for p in photos
    ]


def test_class_folders_can_be_made_and_told_apart_on_every_system(tmp_path):
    names = ["T-shirt/top", "T-shirt:top", "Con", "a", "A", "..", "pink primrose", "été"]
    images = [(Image.new("L", (2, 2), number), number) for number in range(len(names))]
    written = list(write_images(images, names, "train", tmp_path))
    assert [label for _, label, _ in written] == names
    assert [path.split("/")[1] for path, _, _ in written] == [
        "T-shirt_top", "T-shirt_top_2", "Con_", "a", "A_2", "class", "pink_primrose", "été",
    ]  # fmt: skip


def test_images_without_a_label_have_none_in_the_manifest(tmp_path):
    images = [(Image.new("RGB", (2, 2)), -1), (Image.new("RGB", (2, 2), "red"), -1)]
    assert list(write_images(images, ["cat"], "unlabeled", tmp_path)) == [
        ("unlabeled/00001.png", "", "unlabeled"),
        ("unlabeled/00002.png", "", "unlabeled"),
    ]


def has_network() -> bool:
    try:
        socket.getaddrinfo("www.cs.toronto.edu", 443)
    except OSError:
        return False
    return True


@pytest.mark.skipif(has_network(), reason="the download would succeed")
@pytest.mark.parametrize("name", NAMES)
def test_without_a_network_one_sentence_says_what_to_put_where(name, tmp_path, capfd):
    with pytest.raises(AlctlError) as caught:
        write_out(name, tmp_path / "data" / name, ignore)
    message = str(caught.value)
    assert message.startswith(f"cannot download {name} (")
    assert str(tmp_path / "data" / f"{name}.download") in message
    assert "\n" not in message
    assert everything_below(tmp_path) in ([], ["data"])
    assert capfd.readouterr() == ("", "")


def test_an_unknown_name_lists_the_known_ones(tmp_path):
    with pytest.raises(AlctlError, match=r"cifar11 .* caltech101, .*, svhn"):
        write_out("cifar11", tmp_path / "x", ignore)


def test_a_failure_while_images_are_written_leaves_nothing(digits, tmp_path):
    (tmp_path / "mnist.download").symlink_to(digits / "mnist.download")

    def fail(what: str, done: int, total: int) -> None:
        if what.startswith("writing mnist, test"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_out("mnist", tmp_path / "mnist", fail)
    assert everything_below(tmp_path) == ["mnist.download"]


KILLED = """
import os, sys, signal
from pathlib import Path
from alctl.dataset.download import write_out

def die(what, done, total):
    if what.startswith("writing mnist, test"):
        os.kill(os.getpid(), signal.SIGKILL)

write_out("mnist", Path(sys.argv[1]), die)
"""


def test_a_killed_process_leaves_nothing_that_looks_complete_and_the_next_one_finishes(digits, tmp_path):
    (tmp_path / "mnist.download").symlink_to(digits / "mnist.download")
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "mnist")], check=False)
    assert killed.returncode == -9
    assert not (tmp_path / "mnist").exists()
    assert len(rows(write_out("mnist", tmp_path / "mnist", ignore))) == 2 * N


def test_the_names_are_known_without_torch():
    code = (
        "import sys; from alctl.dataset.download import NAMES; assert NAMES; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
