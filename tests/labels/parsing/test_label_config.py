"""Label Studio's labeling configuration."""

from xml.etree import ElementTree as ET

import pytest

from alctl.errors import AlctlError
from alctl.labels.annotation import Category
from alctl.labels.parsing.label_studio.config import CONTROLS, config_beside, read_config, written

CLASSES = (
    Category("zebra", ("nose", "left ear"), ((0, 1),)),
    Category("ant <&>\"' 猫", ("eye", "nose"), ((1, 0),)),
    Category("$image costs $5"),
)


def config(inside: str) -> str:
    return f'<View><Image name="img" value="$photo"/>{inside}</View>'


def test_what_is_written_is_read(tmp_path):
    (tmp_path / "c.xml").write_text(written(CLASSES, CONTROLS), encoding="utf-8")
    found = read_config(tmp_path / "c.xml")
    assert found.categories == CLASSES
    assert found.keypoints == ("nose", "left ear", "eye")
    assert found.image == "image"
    assert found.keypoints_of("ant <&>\"' 猫") == ("eye", "nose")
    assert [found.has_keypoints(c.name) for c in CLASSES] == [True, True, False]


def test_every_label_says_its_number_so_that_no_converter_sorts_them_by_name():
    root = ET.fromstring(written(CLASSES, ["rectangle", "keypoint"]))
    assert [label.get("category") for label in root.findall("RectangleLabels/Label")] == ["0", "1", "2"]
    assert [label.get("model_index") for label in root.findall("KeyPointLabels/Label")] == ["0", "1", "2"]
    assert [label.get("value") for label in root.findall("KeyPointLabels/Label")] == [
        "nose",
        "left ear",
        "eye",
    ]


def test_a_name_that_looks_like_a_field_of_the_data_is_shown_as_it_is():
    label = ET.fromstring(written(CLASSES[2:], ["choice"])).find("Choices/Choice")
    assert label is not None
    assert label.get("alias") == "$image costs $5"
    assert label.get("value") == "$\u2060image costs $\u20605"


@pytest.mark.parametrize("name", ["a\0", "a\x1b", "\uffff", "\ud800"])
def test_a_name_that_xml_cannot_hold_is_a_sentence(name):
    with pytest.raises(AlctlError, match="rename it"):
        written([Category(name)], ["choice"])


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ('<Label value="b" category="1"/><Label value="a" category="0"/>', ["a", "b"]),
        ('<Label value="b" category="1"/><Label value="a"/>', ["b", "a"]),
        ('<Label value="b" alias="c"/><Label/><Label value=""/>', ["c"]),
    ],
)
def test_classes_stand_in_the_order_of_their_numbers_or_else_of_the_file(tmp_path, labels, names):
    tool = f'<BrushLabels name="b" toName="img">{labels}</BrushLabels>'
    (tmp_path / "c.xml").write_text(config(tool))
    found = read_config(tmp_path / "c.xml")
    assert [category.name for category in found.categories] == names
    assert found.image == "photo"


def points(*labels: str) -> str:
    return config(f'<KeyPointLabels name="k" toName="img">{"".join(labels)}</KeyPointLabels>')


def test_keypoints_without_numbers_stand_in_the_order_of_the_file(tmp_path):
    (tmp_path / "c.xml").write_text(points('<Label value="tail"/>', '<Label value="nose"/>'))
    assert read_config(tmp_path / "c.xml").keypoints == ("tail", "nose")


@pytest.mark.parametrize("second", ["", 'model_index="0"', 'model_index="-1"', 'model_index="x"'])
def test_keypoints_of_which_only_some_have_a_number_are_a_sentence(tmp_path, second):
    labels = ('<Label value="tail" model_index="0"/>', f'<Label value="nose" {second}/>')
    (tmp_path / "c.xml").write_text(points(*labels))
    with pytest.raises(AlctlError, match="model_index of their own"):
        read_config(tmp_path / "c.xml")


@pytest.mark.parametrize(
    "own", ['alctl_keypoints="1"', 'alctl_keypoints="x"', 'alctl_skeleton="0-3"', 'alctl_skeleton="0"']
)
def test_keypoints_that_are_not_there_are_a_sentence(tmp_path, own):
    box = f'<RectangleLabels name="b" toName="img"><Label value="cat" {own}/></RectangleLabels>'
    (tmp_path / "c.xml").write_text(points('<Label value="nose"/>').replace("</View>", f"{box}</View>"))
    with pytest.raises(AlctlError, match=r"c\.xml"):
        read_config(tmp_path / "c.xml")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<annotations/>",
        b"<View>",
        b"\xff\xfe",
        b'<!DOCTYPE x [<!ENTITY a "aa">]><View>&a;</View>',
        b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><View>&a;</View>',
        b'<?xml version="1.0" encoding="nonsense"?><View/>',
        b"<View>" + b" " * (1 << 22) + b"</View>",
    ],
    ids=range(8),
)
def test_a_file_that_is_not_a_configuration_is_a_sentence_and_nothing_beside_a_file(tmp_path, content):
    (tmp_path / "labels.xml").write_bytes(content)
    with pytest.raises(AlctlError, match="is not a labeling configuration"):
        read_config(tmp_path / "labels.xml")
    assert config_beside(tmp_path / "labels.json") is None


def test_a_configuration_that_is_not_there_is_a_sentence(tmp_path):
    with pytest.raises(AlctlError, match=r"gone\.xml"):
        read_config(tmp_path / "gone.xml")
    assert config_beside(tmp_path / "gone" / "labels.json") is None


def test_beside_a_file_only_the_same_name_or_the_only_one_of_alctl_counts(tmp_path):
    (tmp_path / "other.xml").write_text(points('<Label value="nose"/>'))
    assert config_beside(tmp_path / "project-1.json") is None
    (tmp_path / "label-studio.xml").write_text(written(CLASSES[:1], ["choice"]))
    assert config_beside(tmp_path / "project-1.json") == read_config(tmp_path / "label-studio.xml")
    assert config_beside(tmp_path / "other.json") == read_config(tmp_path / "other.xml")
    (tmp_path / "second.xml").write_text(written(CLASSES, ["choice"]))
    assert config_beside(tmp_path / "project-1.json") is None


def test_which_of_several_images_is_meant_is_not_guessed(tmp_path):
    (tmp_path / "c.xml").write_text('<View><Image value="$a"/><Image value="$b"/></View>')
    assert read_config(tmp_path / "c.xml").image == ""


HOSTILE = {
    "entities of entities": '<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;">',
    "a file of ours": '<!ENTITY c SYSTEM "file:///etc/passwd">',
    "a file of another": '<!ENTITY c PUBLIC "x" "http://127.0.0.1:9/b">',
    "a parameter": '<!ENTITY % p SYSTEM "http://127.0.0.1:9/b"> %p; <!ENTITY c "">',
}


@pytest.mark.parametrize("declared", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_configuration_that_declares_entities_is_refused_before_one_is_expanded(tmp_path, declared):
    (tmp_path / "labels.xml").write_text(f"<!DOCTYPE View [{declared}]>\n" + points('<Label value="&c;"/>'))
    with pytest.raises(AlctlError, match="line 1: a document type or entities are declared"):
        read_config(tmp_path / "labels.xml")
    assert config_beside(tmp_path / "labels.json") is None


def test_a_configuration_with_a_document_type_alone_or_nested_without_end_is_refused(tmp_path):
    (tmp_path / "a.xml").write_text('<!DOCTYPE View SYSTEM "http://127.0.0.1:9/a.dtd"><View/>')
    with pytest.raises(AlctlError, match="a document type"):
        read_config(tmp_path / "a.xml")
    (tmp_path / "b.xml").write_text("<View>" * 5000)
    with pytest.raises(AlctlError, match="nested too deep"):
        read_config(tmp_path / "b.xml")
