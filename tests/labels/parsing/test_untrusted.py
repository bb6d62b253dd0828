"""Archives, folders and XML made to do harm: each ends in one sentence that names the file."""

import encodings.aliases
import io
import itertools
import os
import random
import stat
import tempfile
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alctl.errors import AlctlError
from alctl.labels.parsing import untrusted
from alctl.labels.parsing.untrusted import (
    DEEPEST,
    LARGEST_ELEMENT,
    MOST_ELEMENTS,
    SMALL,
    Members,
    is_archive,
    members,
    xml_elements,
)
from tests.examples import examples


def packed(
    path: Path, files: dict[str, bytes], change: Callable[[zipfile.ZipFile], None] | None = None
) -> Path:
    """Write a zip; ``change`` may lie in what its directory will say."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
        if change:
            change(archive)
    return path


def contents(path: Path) -> dict[str, bytes]:
    read = {}
    with members(path) as found:
        for name in found.names:
            with found.open(name) as stream:
                read[name] = stream.read()
    return read


@contextmanager
def sentence_about(name: str) -> Iterator[None]:
    """Let an AlctlError pass if it names the file; no other exception."""
    try:
        yield
    except AlctlError as error:
        if name not in str(error):
            raise AssertionError(f"{error} does not name {name}") from error


# --- archives that are what they seem ---------------------------------------------------------------------------------


def test_a_zip_and_a_folder_are_read_alike(tmp_path):
    files = {"annotations.xml": b"<a/>", "images/b c.jpg": b"1", "images/ünï/猫.png": b""}
    for name, content in files.items():
        (tmp_path / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "folder" / name).write_bytes(content)
    assert contents(packed(tmp_path / "a.zip", files)) == files
    assert contents(tmp_path / "folder") == files


def test_names_have_forward_slashes_whoever_packed_them(tmp_path):
    archive = packed(tmp_path / "a.zip", {"labels\\a.txt": b"1", "./b.txt": b"2", "labels\\": b"", "c/": b""})
    assert contents(archive) == {"labels/a.txt": b"1", "b.txt": b"2"}


def test_names_in_utf_8_are_understood_where_the_archive_does_not_say_so(tmp_path):
    path = packed(tmp_path / "a.zip", {"x" * len("ünï.txt".encode()): b"1"})
    path.write_bytes(path.read_bytes().replace(b"x" * len("ünï.txt".encode()), "ünï.txt".encode()))
    assert contents(path) == {"ünï.txt": b"1"}


def test_what_the_finder_adds_to_an_archive_is_not_there(tmp_path):
    archive = packed(tmp_path / "a.zip", {"a.xml": b"1", "__MACOSX/._a.xml": b"2"})
    assert contents(archive) == {"a.xml": b"1"}


def test_an_archive_in_an_archive_stays_packed(tmp_path):
    inner = packed(tmp_path / "inner.zip", {"a.txt": b"1"}).read_bytes()
    assert contents(packed(tmp_path / "a.zip", {"inner.zip": inner})) == {"inner.zip": inner}


def test_a_small_member_is_text_with_or_without_a_byte_order_mark(tmp_path):
    with members(packed(tmp_path / "a.zip", {"a": "é".encode(), "b": "é".encode("utf-8-sig")})) as found:
        assert found.text("a") == found.text("b") == "é"


def test_only_a_zip_is_an_archive(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"PK\x03\x04")
    assert is_archive(packed(tmp_path / "a.zip", {"a": b""}))
    assert not is_archive(tmp_path / "a.txt")
    assert not is_archive(tmp_path)
    assert not is_archive(tmp_path / "none")


# --- archives that lie ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["../a", "a/../../b", "a/..", "/etc/passwd", "C:\\a", "c:a", "..\\a", "a\\..\\..\\b", "\\\\host\\a"],
)
def test_a_member_that_leads_out_of_the_archive_refuses_it(tmp_path, name):
    with pytest.raises(AlctlError, match=r"a\.zip holds .* leads to no place inside it"):
        Members(packed(tmp_path / "a.zip", {"good.txt": b"", name: b""}))


def test_a_member_with_a_nul_in_its_name_refuses_the_archive(tmp_path):
    path = packed(tmp_path / "a.zip", {"a.xml_.txt": b""})
    path.write_bytes(path.read_bytes().replace(b"a.xml_.txt", b"a.xml\0.txt"))
    with pytest.raises(AlctlError, match=r"a\.zip holds"):
        Members(path)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_a_member_that_is_no_file_refuses_the_archive(tmp_path, kind):
    def change(archive: zipfile.ZipFile) -> None:
        archive.infolist()[0].external_attr = (kind | 0o777) << 16

    with pytest.raises(AlctlError, match=r"a\.zip holds 'a\.xml', (a symbolic link|neither a file)"):
        Members(packed(tmp_path / "a.zip", {"a.xml": b"/etc/passwd"}, change))


@pytest.mark.parametrize("other", ["a/b.txt", "a\\b.txt", "./a/b.txt"])
def test_two_members_with_one_name_refuse_the_archive(tmp_path, other):
    with warnings.catch_warnings(), zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("a/b.txt", "1")
        archive.writestr(other, "2")
    with pytest.raises(AlctlError, match=r"a\.zip holds 'a/b\.txt' twice"):
        Members(tmp_path / "a.zip")


def test_members_that_share_bytes_refuse_the_archive(tmp_path):
    def change(archive: zipfile.ZipFile) -> None:
        first, second = archive.infolist()
        second.header_offset = first.header_offset

    with pytest.raises(AlctlError, match=r"a\.zip holds members that overlap"):
        Members(packed(tmp_path / "a.zip", {"a": b"1" * 100, "b": b"2" * 100}, change))


def test_an_encrypted_member_is_told_from_a_damaged_one(tmp_path):
    def change(archive: zipfile.ZipFile) -> None:
        archive.infolist()[0].flag_bits |= 1

    found = Members(packed(tmp_path / "a.zip", {"a": b"1"}, change))
    with pytest.raises(AlctlError, match=r"a\.zip: a is encrypted"):
        found.open("a")
    found.close()


@pytest.fixture(scope="module")
def bomb(tmp_path_factory) -> Path:
    """100 MiB of zeros in 100 kB."""
    path: Path = tmp_path_factory.mktemp("bomb") / "bomb.zip"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive,
        archive.open("annotations.xml", "w") as member,
    ):
        for _ in range(100):
            member.write(bytes(1 << 20))
    return path


def test_a_member_that_unpacks_to_far_more_than_it_should_is_not_read_to_its_end(bomb):
    parts: list[int] = []
    far = pytest.raises(AlctlError, match=r"bomb\.zip: annotations\.xml unpacks to far more")
    with members(bomb) as found, found.open("annotations.xml") as stream, far:
        parts.extend(len(part) for part in iter(lambda: stream.read(1 << 16), b""))
    assert SMALL < sum(parts) < 100 << 20


def test_a_large_member_is_not_taken_into_memory_as_text(bomb):
    tracemalloc.start()
    try:
        with members(bomb) as found, pytest.raises(AlctlError, match=r"larger than 16 MiB"):
            found.text("annotations.xml")
        assert tracemalloc.get_traced_memory()[1] < 4 * SMALL
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", [2**31, 2**40, 2**63])
@pytest.mark.parametrize("which", ["file_size", "compress_size"])
def test_a_member_that_declares_a_huge_size_is_refused(tmp_path, which, size):
    def change(archive: zipfile.ZipFile) -> None:
        setattr(archive.infolist()[0], which, size)

    path = packed(tmp_path / "a.zip", {"a": b"1" * 1000}, change)
    with pytest.raises(AlctlError, match=r"a\.zip"):
        contents(path)


def test_an_archive_cut_off_anywhere_is_a_sentence(tmp_path):
    whole = packed(tmp_path / "a.zip", {"a": random.Random(3).randbytes(300), "b": b"2"}).read_bytes()
    cut = tmp_path / "cut.zip"
    for size in range(0, len(whole) - 1, 7):
        cut.write_bytes(whole[:size])
        with pytest.raises(AlctlError, match=r"cut\.zip"):
            contents(cut)


@settings(max_examples=examples(150))
@given(data=st.data())
def test_an_archive_with_broken_bytes_is_read_or_refused(data):
    with tempfile.TemporaryDirectory() as folder:
        path = packed(Path(folder) / "a.zip", {"a/b.txt": b"1" * 50, "ü.txt": b"2" * 50})
        content = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 8))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(content)
        with sentence_about("a.zip"):
            assert all(".." not in name and not name.startswith("/") for name in contents(path))


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "none.txt", ""])
def test_only_what_is_listed_can_be_opened(tmp_path, name):
    (tmp_path / "secret").write_text("s")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "folder", packed(tmp_path / "a.zip", {"a": b""})):
        with members(path) as found, pytest.raises(AlctlError, match="holds no"):
            found.open(name)


# --- folders ----------------------------------------------------------------------------------------------------------


def test_links_out_of_a_folder_are_not_followed(tmp_path):
    (tmp_path / "secret").write_text("s")
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "b.txt").write_text("b")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.txt").write_text("a")
    (folder / "secret.txt").symlink_to("../secret")
    (folder / "absolute.txt").symlink_to(tmp_path / "secret")
    (folder / "others").symlink_to("../others")
    (folder / "same.txt").symlink_to("a.txt")
    assert contents(folder) == {"a.txt": b"a", "same.txt": b"a"}


def test_links_in_a_circle_end(tmp_path):
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "itself").symlink_to("itself")
    (tmp_path / "one").symlink_to("other")
    (tmp_path / "other").symlink_to("one")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "up").symlink_to("..")
    (tmp_path / "here").symlink_to(".")
    assert contents(tmp_path) == {"a.txt": b"a"}


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "a.txt").write_text("a")
    assert contents(tmp_path) == {"a.txt": b"a"}
    with pytest.raises(AlctlError, match="pipe is neither a folder nor a file"):
        Members(tmp_path / "pipe")


def test_a_file_that_vanishes_is_a_sentence(tmp_path):
    (tmp_path / "a.txt").write_text("a")
    with members(tmp_path) as found:
        (tmp_path / "a.txt").unlink()
        with pytest.raises(AlctlError, match=r"cannot read .*a\.txt: No such file"):
            found.open("a.txt")
        with pytest.raises(AlctlError, match=r"cannot read .*a\.txt: No such file"):
            found.text("a.txt")


def test_what_is_not_there_is_a_sentence(tmp_path):
    with pytest.raises(AlctlError, match=r"cannot read .*none: No such file"):
        Members(tmp_path / "none")


@contextmanager
def as_anybody() -> Iterator[None]:
    """Run as a user who may not read everything, where the tests run as one who may."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_a_folder_or_file_that_may_not_be_read_is_a_sentence_and_not_left_out():
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:  # everybody may come this far, unlike $TMPDIR
        folder = Path(name)
        (folder / "closed").mkdir()
        (folder / "a.txt").write_text("a")
        for path, mode in ((folder, 0o755), (folder / "closed", 0o000), (folder / "a.txt", 0o000)):
            path.chmod(mode)
        with as_anybody(), pytest.raises(AlctlError, match=r"cannot read .*closed: Permission denied"):
            Members(folder)
        (folder / "closed").rmdir()
        with as_anybody(), members(folder) as found, pytest.raises(AlctlError, match=r"a\.txt: Permission"):
            found.open("a.txt")
        with as_anybody(), pytest.raises(AlctlError, match=r"a\.txt .*Permission denied"):
            Members(folder / "a.txt")


def test_text_that_is_not_utf_8_is_a_sentence(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xff")
    with members(tmp_path) as found, pytest.raises(AlctlError, match=r"a\.txt is not UTF-8"):
        found.text("a.txt")


# --- XML --------------------------------------------------------------------------------------------------------------


class Parts(io.RawIOBase):
    """A stream made of parts as they are asked for."""

    def __init__(self, parts: Iterable[bytes]) -> None:
        self.parts = iter(parts)
        self.rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        while not self.rest and (part := next(self.parts, None)) is not None:
            self.rest = part
        size = min(len(buffer), len(self.rest))
        buffer[:size] = self.rest[:size]
        self.rest = self.rest[size:]
        return size


def stream_of(*parts: bytes | Iterable[bytes]) -> io.BufferedReader:
    whole = (piece for part in parts for piece in ([part] if isinstance(part, bytes) else part))
    return io.BufferedReader(Parts(whole))


def names_in(document: bytes, *tags: str, root: str = "") -> list[str]:
    return [e.get("name", "") for e, _ in xml_elements(io.BytesIO(document), "labels.xml", *tags, root=root)]


def refused(document: bytes, match: str) -> None:
    with pytest.raises(AlctlError, match=match):
        names_in(document, "image")


def test_elements_come_whole_and_with_what_they_stand_in():
    document = (
        b'<all a="1"><part b="2"><image name="x">text<box c="3">more</box>tail</image></part>rest</all>'
    )
    ((image, around),) = xml_elements(io.BytesIO(document), "labels.xml", "image")
    assert [(e.tag, e.attrib) for e in around] == [("all", {"a": "1"}), ("part", {"b": "2"})]
    assert (image.text, image[0].tag, image[0].attrib) == ("text", "box", {"c": "3"})
    assert (image[0].text, image[0].tail) == ("more", "tail")


def test_elements_of_several_names_come_in_the_order_of_the_file():
    document = b'<all><meta name="m"/><image name="1"/><x><track name="t"/></x><image name="2"/></all>'
    assert names_in(document, "image", "meta", "track") == ["m", "1", "t", "2"]


def test_an_element_inside_another_is_a_part_of_it():
    assert names_in(b'<image name="1"><image name="2"/><meta/></image>', "image", "meta") == ["1"]


def test_another_root_is_another_format():
    assert names_in(b'<all><image name="1"/></all>', "image", root="all") == ["1"]
    with pytest.raises(AlctlError, match=r"labels\.xml begins with <some> and not with <all>"):
        names_in(b"<some><all/></some>", "image", root="all")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "iso-8859-1", "windows-1252"])
def test_the_encoding_is_the_declared_one(encoding):
    declared = "" if encoding.startswith("utf-8") else f'<?xml version="1.0" encoding="{encoding}"?>'
    assert names_in(f'{declared}<a><image name="é"/></a>'.encode(encoding), "image") == ["é"]


BOMBS = {
    "entities of entities": '<!DOCTYPE a [<!ENTITY b "x"><!ENTITY c "&b;&b;">]><a><image name="1">&c;</image></a>',
    "one long entity": f'<!DOCTYPE a [<!ENTITY b "{"x" * 9999}">]><a>{"&b;" * 99}</a>',
    "a file of ours": '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a><image>&b;</image></a>',
    "a file of another": '<!DOCTYPE a [<!ENTITY b PUBLIC "x" "http://127.0.0.1:9/b">]><a>&b;</a>',
    "a parameter": '<!DOCTYPE a [<!ENTITY % b SYSTEM "http://127.0.0.1:9/b"> %b;]><a/>',
    "a document type elsewhere": '<!DOCTYPE a SYSTEM "http://127.0.0.1:9/a.dtd"><a/>',
    "a document type that does nothing": "<!DOCTYPE a><a/>",
    "attributes by default": '<!DOCTYPE a [<!ATTLIST image name CDATA "1">]><a><image/></a>',
    "a notation": '<!DOCTYPE a [<!NOTATION n SYSTEM "n"><!ENTITY b SYSTEM "b" NDATA n>]><a/>',
}


@pytest.mark.parametrize("document", BOMBS.values(), ids=BOMBS.keys())
def test_a_document_type_is_refused_with_all_that_it_can_declare(document):
    refused(document.encode(), "labels.xml, line 1: a document type or entities are declared")


BROKEN = {
    "nothing": b"",
    "spaces": b" \n ",
    "text": b"hello",
    "a byte of zero": b"<a>\0</a>",
    "a zero in an attribute": b'<a><image name="\0"/></a>',
    "bytes that are not UTF-8": b'<a><image name="\xff\xfe"/></a>',
    "a surrogate": b'<a><image name="\xed\xa0\x80"/></a>',
    "half an UTF-16": '<a><image name="1"/></a>'.encode("utf-16")[:-1],
    "an entity that nobody declared": b"<a>&b;</a>",
    "a character that XML has not": b"<a>&#0;</a>",
    "two roots": b"<a/><a/>",
    "one attribute twice": b'<a><image name="1" name="2"/></a>',
    "ends that do not match": b"<a><image></a></image>",
    "half a comment": b"<a><!-- ",
    "an encoding that there is not": b'<?xml version="1.0" encoding="none"?><a/>',
    "an encoding of several bytes": '<?xml version="1.0" encoding="shift_jis"?><a>猫</a>'.encode("shift_jis"),
    "an encoding that is not of text": b'<?xml version="1.0" encoding="zlib_codec"?><a/>',
}


@pytest.mark.parametrize("document", BROKEN.values(), ids=BROKEN.keys())
def test_broken_xml_is_a_sentence(document):
    refused(document, "labels.xml is not XML")


@pytest.mark.parametrize("encoding", sorted({*encodings.aliases.aliases.values(), "undefined", "idna"}))
@pytest.mark.filterwarnings("ignore")
def test_no_declared_encoding_is_a_way_in(encoding):
    declared = f'<?xml version="1.0" encoding="{encoding}"?>'
    with sentence_about("labels.xml is not XML"):
        assert len(names_in(f'{declared}<a><image name="1"/></a>'.encode(), "image")) == 1


def test_xml_cut_off_anywhere_is_a_sentence():
    document = '<?xml version="1.0"?><a><!-- ü --><image name="ü"><box/>text</image><image/></a>'.encode()
    assert names_in(document, "image") == ["ü", ""]
    for size in range(len(document)):
        refused(document[:size], "labels.xml is not XML")


@pytest.mark.parametrize("outer", [b"<a>", b"<image>"], ids=["outside", "inside"])
def test_nesting_has_an_end(outer):
    fits = outer + b"<a>" * (DEEPEST - 1) + b"</a>" * (DEEPEST - 1) + outer.replace(b"<", b"</")
    assert len(names_in(fits, "image")) == (outer == b"<image>")
    refused(outer + b"<a>" * 1_000_000, "labels.xml, line 1: nested too deep")


MIB = b"a" * (1 << 20)
FLOODS = {
    "an attribute": (b'<a><image name="', MIB),
    "an attribute of what nobody wants": (b'<a><other name="', MIB),
    "a name": (b"<a><", MIB),
    "text": (b"<a><image>", MIB),
    "text of what nobody wants": (b"<a>", MIB),
    "a comment": (b"<a><!--", MIB),
    "an instruction": (b"<a><?a ", MIB),
    "elements": (b"<a><image>", b"<a/>" * (1 << 18)),
    "nested elements": (b"<a><image>", b"<a><b><c/></b></a>" * (1 << 16)),
}


def flooded(begin: bytes, more: bytes) -> int:
    """Read what never ends, which has to be refused; return how many bytes of it were asked for."""
    asked = itertools.count()
    document = stream_of(begin, (more for _ in zip(range(LARGEST_ELEMENT), asked, strict=False)))
    with pytest.raises(AlctlError, match=r"labels\.xml, line 1: holds more"):
        list(xml_elements(document, "labels.xml", "image"))
    return next(asked) * len(more)


@pytest.mark.parametrize(("begin", "more"), FLOODS.values(), ids=FLOODS.keys())
def test_what_never_ends_is_refused(monkeypatch, begin, more):
    monkeypatch.setattr(untrusted, "LARGEST_ELEMENT", 4 << 20)
    monkeypatch.setattr(untrusted, "MOST_ELEMENTS", 1 << 12)
    flooded(begin, more)


@pytest.mark.slow
@pytest.mark.parametrize(("begin", "more"), FLOODS.values(), ids=FLOODS.keys())
def test_what_never_ends_is_refused_before_it_fills_the_memory_or_the_day(begin, more):
    tracemalloc.start()
    try:
        assert flooded(begin, more) < 2 * LARGEST_ELEMENT
        assert tracemalloc.get_traced_memory()[1] < 8 * LARGEST_ELEMENT
    finally:
        tracemalloc.stop()


def test_an_image_may_have_very_many_labels():
    many = MOST_ELEMENTS // 20
    document = stream_of(
        b"<a><image>", (b'<box xtl="1.25"/>' * 100 for _ in range(many // 100)), b"</image></a>"
    )
    ((image, _),) = xml_elements(document, "labels.xml", "image")
    assert len(image) == many // 100 * 100


def long_document(count: int) -> io.BufferedReader:
    """Return images with tracks, unknown elements, comments and text between them."""
    one = b'<track id="%d"><box frame="1"/>text</track>tail<other a="b"><deep>text</deep></other><!-- c -->'
    image = b'<image name="%d"><box xtl="1.5"/><polygon points="1,2;3,4"/></image>\n'
    return stream_of(
        b"<annotations><version>1.1</version>",
        ((one + image) % (n, n) for n in range(count)),
        b"</annotations>",
    )


def peak_of(count: int) -> int:
    """Return the bytes that reading so many images took at most."""
    tracemalloc.start()
    try:
        assert sum(1 for _ in xml_elements(long_document(count), "labels.xml", "image")) == count
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_what_was_read_is_forgotten_and_so_is_what_stood_between():
    assert peak_of(30_000) < 1.4 * peak_of(15_000)


def test_a_stream_that_fails_is_a_sentence():
    class Failing(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer) -> int:
            raise OSError(5, "Input/output error")

    with pytest.raises(AlctlError, match=r"cannot read labels\.xml: Input/output error"):
        list(xml_elements(io.BufferedReader(Failing()), "labels.xml", "image"))


@settings(max_examples=examples(200))
@given(content=st.one_of(st.binary(max_size=80), st.text("<>/!?&;[]-'\"= ax", max_size=80).map(str.encode)))
def test_any_bytes_are_read_or_refused(content):
    with sentence_about("labels.xml"):
        assert len(names_in(content, "a")) < 30
