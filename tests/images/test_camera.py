"""Which camera took an image."""

import pytest
from PIL import Image

from alctl.images.camera import camera


@pytest.mark.parametrize(
    ("make", "model", "name"),
    [
        ("Canon", "EOS 80D", "Canon EOS 80D"),
        ("Canon", "Canon EOS 80D", "Canon EOS 80D"),
        ("NIKON CORPORATION", " D750\0", "NIKON CORPORATION D750"),
        ("", "SM-G960F", "SM-G960F"),
        ("Apple", "", "Apple"),
        ("", "", ""),
    ],
)
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_make_and_model_are_read_from_the_exif_data(tmp_path, make, model, name, suffix):
    exif = Image.Exif()
    for tag, text in ((0x010F, make), (0x0110, model)):
        if text:
            exif[tag] = text
    file = tmp_path / f"photo.{suffix}"
    Image.new("RGB", (8, 8)).save(file, exif=exif)
    assert camera(file) == name


def test_a_file_that_says_nothing_has_no_camera(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "plain.png")
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    assert [camera(tmp_path / name) for name in ("plain.png", "broken.jpg", "gone.jpg")] == ["", "", ""]
