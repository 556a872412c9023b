"""Class names come from lists, objects and lines, and are as many as the classes; ImageNet's against torchvision's."""

import json

import pytest

from tests.support import live
from zoo.data import imagenet_class_names, read_class_names
from zoo.errors import UserError


def test_class_names_come_from_lists_objects_and_lines(tmp_path):
    for name, content in (
        ("l.json", json.dumps(["cat", "dog"])),
        ("o.json", json.dumps({"1": "dog", "0": "cat"})),
        ("t.txt", "cat\ndog\n"),
    ):
        (tmp_path / name).write_text(content)
        assert read_class_names(tmp_path / name, 2) == ["cat", "dog"]
        with pytest.raises(UserError, match="must hold 3 names"):
            read_class_names(tmp_path / name, 3)


@pytest.mark.parametrize("content", ["{", '{"a": "cat", "b": "dog"}', "[1, 2]", "3"])
def test_what_is_not_a_list_of_names_is_refused(tmp_path, content):
    (tmp_path / "bad.json").write_text(content)
    with pytest.raises(UserError, match=r"bad\.json (is not a list of class names|must hold 2 names)"):
        read_class_names(tmp_path / "bad.json", 2)


NAMES = ["café", "line\u2028break", "form\x0cfeed \x85", "naïve"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("end", [0, 1, 3])
def test_names_are_lines_of_any_unicode_and_blank_ones_at_the_end_do_not_count(tmp_path, encoding, newline, end):
    (tmp_path / "t.txt").write_bytes((newline.join(NAMES) + end * newline).encode(encoding))
    assert read_class_names(tmp_path / "t.txt", 4) == NAMES
    (tmp_path / "l.json").write_bytes(json.dumps(NAMES, ensure_ascii=False).encode(encoding))
    assert read_class_names(tmp_path / "l.json", 4) == NAMES


@pytest.mark.parametrize(("encoding", "names"), [("latin-1", ["café", "Ångström"]), ("cp1252", ["“dog”", "œuf"])])
def test_names_that_are_not_utf_8_are_latin_1(tmp_path, encoding, names):
    (tmp_path / "t.txt").write_bytes("\n".join(names).encode(encoding))
    assert read_class_names(tmp_path / "t.txt", 2) == names
    (tmp_path / "l.json").write_bytes(json.dumps(names, ensure_ascii=False).encode(encoding))
    assert read_class_names(tmp_path / "l.json", 2) == names


def test_keras_index_of_imagenet_gives_its_names(tmp_path):
    """The first entries of imagenet_class_index.json, out of order."""
    index = {"1": ["n01443537", "goldfish"], "0": ["n01440764", "tench"], "2": ["n01484850", "great_white_shark"]}
    (tmp_path / "imagenet_class_index.json").write_text(json.dumps(index))
    names = ["tench", "goldfish", "great_white_shark"]
    assert read_class_names(tmp_path / "imagenet_class_index.json", 3) == names
    (tmp_path / "pairs.JSON").write_text(json.dumps(sorted(index.values())))
    assert read_class_names(tmp_path / "pairs.JSON", 3) == names


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("t.txt", b"cat\n\ndog", "class 1 is called ''"),
        ("t.txt", b"", "must hold 3 names, one for each class, and holds"),
        ("l.json", b'{"1": "cat", "2": "dog", "3": "cow"}', "KeyError"),
        ("l.json", b'[["n1", "cat", "dog"], "cow", "ass"]', "class 0 is called"),
        ("l.json", b"[" * 100_000, "Recursion"),
        ("l.json", b"\xff\xfe[", "JSONDecodeError"),
    ],
)
def test_a_damaged_file_of_names_is_named(tmp_path, name, content, why):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=why) as error:
        read_class_names(tmp_path / name, 3)
    assert str(tmp_path / name) in str(error.value)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_class_names(tmp_path / "nowhere.txt", 3)


def test_imagenet_s_names_are_1000_different_ones():
    """At numbers that papers and tutorials quote."""
    names = imagenet_class_names()
    assert len(names) == len(set(names)) == 1000
    known = {0: "tench", 1: "goldfish", 207: "golden retriever", 281: "tabby", 285: "Egyptian cat", 388: "giant panda"}
    known |= {134: "crane bird", 517: "crane", 954: "banana", 967: "espresso", 999: "toilet tissue"}
    assert {number: names[number] for number in known} == known


@pytest.mark.parity
def test_imagenet_s_names_are_torchvision_s():
    weights = live.torchvision_of_cpu().models.ResNet50_Weights.IMAGENET1K_V1
    assert list(imagenet_class_names()) == weights.meta["categories"]
