"""Large JSON files piece by piece: the same as json.load, or a sentence."""

import io
import json
import math
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from alctl.errors import AlctlError
from alctl.labels.parsing import json_stream
from alctl.labels.parsing.json_index import MISSING, Ids, Table
from tests.examples import examples

at_leisure = settings(max_examples=examples(150), suppress_health_check=[HealthCheck.too_slow])
TEXTS = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('"\\[]{},:\n é猫'), max_size=8)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)
DOCUMENTS = st.lists(VALUES, max_size=6) | st.dictionaries(TEXTS, VALUES, max_size=4)
STYLES = st.fixed_dictionaries(
    {
        "indent": st.none() | st.integers(0, 2),
        "ensure_ascii": st.booleans(),
        "separators": st.sampled_from([(",", ":"), (" , ", " : "), (",\r\n\t", ":")]),
    }
)


def read(content: bytes) -> list[tuple[str, object]]:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "labels.json"
        file.write_bytes(content)
        return list(json_stream.elements(file))


def flat(document) -> list[tuple[str, object]]:
    """Return what `elements` promises for a document."""
    if isinstance(document, list):
        return [("", value) for value in document]
    return [
        (key, element)
        for key, value in document.items()
        for element in (value if isinstance(value, list) else [value])
    ]


@pytest.fixture
def small_blocks(monkeypatch):
    return lambda size: monkeypatch.setattr(json_stream, "BLOCK", size)


@pytest.mark.parametrize("block", [1, 2, 3, 7, 64, 1 << 20])
def test_any_document_in_any_blocks_is_what_json_reads(block, small_blocks):
    small_blocks(block)

    @at_leisure
    @given(document=DOCUMENTS, style=STYLES, mark=st.sampled_from([b"", b"\xef\xbb\xbf"]))
    @example({"a": ["\\", '\\"', '"]', "\\\\"]}, {}, b"")
    @example({"a": [1, 2], "": []}, {}, b"")
    def check(document, style, mark):
        text = json.dumps(document, **style)
        assert read(mark + text.encode()) == flat(json.loads(text))

    check()


@pytest.mark.parametrize("block", [1, 5, 1 << 20])
def test_any_text_is_accepted_or_refused_as_json_does(block, small_blocks):
    small_blocks(block)
    marks = st.sampled_from(
        ['"', "\\", "[", "]", "{", "}", ",", ":", "1", "-", "e", ".", "true", " ", "\n", '"a"', "\x0b"]
    )

    @settings(max_examples=examples(600))
    @given(
        st.lists(marks, max_size=9).map("".join),
        st.sampled_from(["{}", '{{"a":[{}]}}', "[{}]", '[{{"a":{}}}]']),
    )
    @example("1 ", "[{}")
    @example("1,", "[{}]")
    @example("\x0b", "[{}]")
    @example('{"a":1]', "[{}]")
    @example("1}", "[{}")
    def check(inner, outer):
        text = (
            outer.replace("{{", "\0")
            .replace("}}", "\1")
            .replace("{}", inner)
            .replace("\0", "{")
            .replace("\1", "}")
        )
        try:
            # a key may come twice, and both are told
            document = json.loads(text, object_pairs_hook=lambda pairs: dict(pairs) | {"\0": pairs})
        except ValueError:
            document = None
        try:
            found = read(text.encode())
        except AlctlError:
            found = None
        assert (found is None) == (not isinstance(document, dict | list))

    check()


def test_a_file_cut_off_at_any_byte_is_a_sentence():
    content = json.dumps(
        {"images": [{"id": 1, "n": [1, 2]}, {"a": "é]\\"}], "x": {"y": [3]}, "z": -12.5}
    ).encode()
    for end in range(len(content)):
        with pytest.raises(AlctlError, match=r"labels.json"):
            read(content[:end])
    assert read(content)


def test_a_file_cut_off_says_that_it_may_be():
    with pytest.raises(AlctlError, match=r"is it cut off\?"):
        read(b'{"images": [{"id": 1}, {"id')


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "it is empty"),
        (b"  \n", "neither an object nor an array"),
        (b"12", "neither an object nor an array"),
        (b'"[]"', "neither an object nor an array"),
        (b"[1] [2]", "more after its end, byte 4"),
        (b"[1,]", "value is missing|not JSON"),
        (b'[{"a":1},]', "trailing comma is not allowed, byte 8"),
        (b'{"a":}', "value is missing"),
        (b'{"a" 1}', "':' is missing, byte 5"),
        (b'{"a":1,}', "a key is missing"),
        (b"{a:1}", "a key is missing"),
        (b"[1e999]", "not JSON: number is infinity"),
        (b"[" + b"1" * 5000 + b"]", "not JSON: number is infinity"),
        (b"[" * 100_000, "cut off"),
        (b"[" * 100_000 + b"]" * 100_000, "depth"),
        (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, "depth"),
        (b'["\xff"]', "not UTF-8 text: invalid start byte at byte 2"),
        (b'["ok", "\xc3"]', "not UTF-8 text: .* at byte 8"),
        (b'["\\ud800"]', "not JSON"),
        (b'["a\nb"]', "not JSON"),
        (b"[\0]", "not JSON"),
        (b"[1}", "']' is missing|not JSON"),
        ('["é", "é", x]'.encode(), "byte 13"),
    ],
)
def test_what_is_no_json_is_a_sentence(content, sentence):
    with pytest.raises(AlctlError, match=sentence):
        read(content)


def test_a_file_that_is_not_there_is_a_sentence(tmp_path):
    with pytest.raises(AlctlError, match=r"cannot read .*labels\.json"):
        list(json_stream.elements(tmp_path / "labels.json"))


def test_a_key_that_comes_twice_is_told_twice():
    assert read(b'{"a": [1], "a": [2], "b": {"c": 1, "c": 2}}') == [("a", 1), ("a", 2), ("b", {"c": 2})]


def test_whole_numbers_beyond_64_bits_come_as_floats():
    assert read(b"[18446744073709551616]") == [("", 2.0**64)]


def test_an_element_larger_than_any_label_is_a_sentence(monkeypatch, small_blocks):
    small_blocks(16)
    monkeypatch.setattr(json_stream, "LARGEST", 100)
    with pytest.raises(AlctlError, match="longer than 100 bytes"):
        read(b'["' + b"x" * 1000 + b'"]')


def test_pieces_say_where_their_objects_stand(small_blocks):
    small_blocks(9)
    content = b'\xef\xbb\xbf{"a": [{"b": [1, {}]}, 5, ["]"], {"\\"": "}"}], "c": {"d": 1}, "e": []}'
    pieces = list(json_stream.pieces(io.BytesIO(content), "x"))
    found = [
        (piece.key, content[piece.offset + start : piece.offset + end])
        for piece in pieces
        for start, end in zip(piece.starts, piece.ends, strict=True)
    ]
    assert found == [("a", b'{"b": [1, {}]}'), ("a", b'["]"]'), ("a", b'{"\\"": "}"}')]
    assert [piece.key for piece in pieces if piece.first] == ["a", "c", "e"]
    assert [piece.array for piece in pieces if piece.first] == [True, False, True]


def test_many_small_arrays_take_no_quadratic_time():
    content = b"{" + b",".join(b'"k%d":[]' % n for n in range(50_000)) + b"}"
    assert read(content) == []  # with a survey of the window for each, this would take hours


# --- objects found again ----------------------------------------------------------------------------------------------


def table_of(document: object, keys=("id",)) -> Table:
    stream = io.BytesIO(json.dumps(document).encode())
    table = Table(stream, "x.json", Ids(), keys)
    for piece in json_stream.pieces(stream, "x.json"):
        table.add(piece)
    table.close()
    return table


@at_leisure
@given(
    st.lists(st.dictionaries(TEXTS, VALUES, max_size=3) | VALUES, max_size=12),
    st.lists(st.integers(0, 11), max_size=12),
    st.sampled_from([1, 16, 1 << 20]),
)
def test_objects_are_read_again_in_any_order(rows, wanted, block):
    before = json_stream.BLOCK
    json_stream.BLOCK = block
    try:
        table = table_of(rows)
    finally:
        json_stream.BLOCK = before
    objects = [row for row in rows if isinstance(row, dict)]
    indices = [index for index in wanted if index < len(objects)]
    assert len(table) == len(objects)
    assert table.others == len(rows) - len(objects)
    assert table.rows(np.array(indices, np.int64)) == [objects[index] for index in indices]


def test_ids_are_numbers_and_the_same_text_is_the_same_number():
    ids = [3, -1, "a", "3", "a", None, True, 1.0, [1], 2**80, 2**63, 0]
    found = table_of([{"id": id_} for id_ in ids]).columns["id"].tolist()
    assert found[:2] == [3, -1]
    assert found[2] == found[4] != found[3]
    assert found[5:11] == [MISSING] * 6
    assert found[11] == 0
    assert min(found[2:4]) >= 2**62


def test_texts_that_look_like_lists_of_numbers_stay_different_ids():
    texts = [f"[{n}{'0' * 20}]" for n in range(3)]
    assert len(set(table_of([{"id": text} for text in texts]).columns["id"].tolist())) == 3


def test_a_broken_list_of_numbers_is_a_sentence_with_its_place():
    content = b'[{"id": 1}, {"id": 2, "p": [1.5,,2.5, 3.5, 4.5, 5.5]}]'
    stream = io.BytesIO(content)
    table = Table(stream, "x.json", Ids(), ("id",))
    for piece in json_stream.pieces(stream, "x.json"):
        table.add(piece)
    table.close()
    with pytest.raises(AlctlError, match=r"x\.json is not JSON: .* byte 32"):
        table.rows(np.array([1, 0]))


def test_what_python_writes_and_json_does_not_have_are_numbers_and_utf_16_is_read(tmp_path):
    file = tmp_path / "x.json"
    file.write_text('[1, -Infinity, {"a": Infinity}]')
    assert list(json_stream.elements(file)) == [("", 1), ("", -math.inf), ("", {"a": math.inf})]
    file.write_text('["é", 2]', encoding="utf-16")
    assert list(json_stream.elements(file)) == [("", "é"), ("", 2)]
