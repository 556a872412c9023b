"""Class names come from lists, objects and lines, and are as many as the classes."""

import json

import pytest

from zoo.data import read_class_names
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
