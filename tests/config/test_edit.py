"""Values put into the user's text: nothing else of it changes."""

import difflib

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_node.config.edit import edited
from edge_node.config.files import commented_yaml
from edge_node.config.keys import Key, live_keys
from edge_node.errors import ConfigError


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "pose:\n  max_people: 2\n"),
        ("# mine\n", "# mine\npose:\n  max_people: 2\n"),
        ("pose:\n  max_people: 4\n", "pose:\n  max_people: 2\n"),
        ("pose:\n  max_people: 4  # four of us\n", "pose:\n  max_people: 2  # four of us\n"),
        ("pose:\n    max_people:   4", "pose:\n    max_people:   2"),
        ("pose: {max_people: 4, idle_fps: 1.0}\n", "pose: {max_people: 2, idle_fps: 1.0}\n"),
        ("pose: {idle_fps: 1.0}\n", "pose: {max_people: 2, idle_fps: 1.0}\n"),
        ("pose: {}\n", "pose: {max_people: 2}\n"),
        ("pose:\n  # max_people: 6\nmqtt:\n", "pose:\n  # max_people: 6\n  max_people: 2\nmqtt:\n"),
        ("pose:\n  # how many\n  # max_people: 6\n\n  # rest\n", "pose:\n  # how many\n  # max_people: 6\n  max_people: 2\n\n  # rest\n"),
        ("pose:\n  idle_fps: 1.0  # slow\n  # end\nmqtt:\n", "pose:\n  idle_fps: 1.0  # slow\n  max_people: 2\n  # end\nmqtt:\n"),
        ("pose:\n    idle_fps: 1.0\n# next\nmqtt: {}\n", "pose:\n    idle_fps: 1.0\n    max_people: 2\n# next\nmqtt: {}\n"),
        ("pose:", "pose:\n  max_people: 2\n"),
        ("pose:\n", "pose:\n  max_people: 2\n"),
        ("mqtt:\n  host: a\n", "mqtt:\n  host: a\npose:\n  max_people: 2\n"),
        ("mqtt:\n  host: a", "mqtt:\n  host: a\npose:\n  max_people: 2\n"),
        ("pose:\r\n  max_people: 4 # x\r\nlog:\r\n", "pose:\r\n  max_people: 2 # x\r\nlog:\r\n"),
        ("pose:\r\n  # max_people: 4\r\n", "pose:\r\n  # max_people: 4\r\n  max_people: 2\r\n"),
        ("# ä ö ü 人\npose:\n  max_people: 4 # 人\n", "# ä ö ü 人\npose:\n  max_people: 2 # 人\n"),
        ('pose:\n  "max_people": 4\n', 'pose:\n  "max_people": 2\n'),
        ("pose:\n  max_people: 4\t# mine\n", "pose:\n  max_people: 2\t# mine\n"),
        ("pose: ~  # mine\nmqtt:\n", "pose: {max_people: 2}  # mine\nmqtt:\n"),
        ("pose: null", "pose: {max_people: 2}"),
        ("mqtt:\n  host: a\n...\n# end\n", "mqtt:\n  host: a\npose:\n  max_people: 2\n...\n# end\n"),
        ("---\n# mine\n...\n", "---\n# mine\npose:\n  max_people: 2\n...\n"),
        ("pose:\n  max_people: >-  # folded\n    4\n\n  # after\nmqtt:\n", "pose:\n  max_people: 2\n\n  # after\nmqtt:\n"),
    ],
)
def test_one_value_changes_and_nothing_else(before: str, after: str) -> None:
    assert edited(before, {"pose.max_people": 2}) == after


def test_a_list_over_several_lines_is_replaced_and_what_follows_stays() -> None:
    before = "state:\n  zones:\n    - name: a  # old\n      polygon: [[0, 0], [1, 0], [1, 1]]\n  # after\n  enabled: true\n"
    zones = [{"name": "b", "polygon": [[0, 0], [1, 0], [0.5, 1]]}]
    after = edited(before, {"state.zones": zones})
    assert yaml.safe_load(after) == {"state": {"zones": zones, "enabled": True}}
    assert "\n  # after\n  enabled: true\n" in after


def test_several_keys_can_be_set_in_a_section_that_is_null() -> None:
    assert edited("pose: ~\n", {"pose.max_people": 2, "pose.idle_fps": 1.0}) == "pose: {idle_fps: 1.0, max_people: 2}\n"


@pytest.mark.parametrize(
    "text",
    [
        "pose: &p {max_people: &n 4}\nstate: {presence_on_s: *n}\n",
        "{log: {level: info}}\n",
        "pose: &n ~\nstate: *n\n",
        "camera: {source: http://camera/?size=1}\n",
    ],
)
def test_what_cannot_be_changed_safely_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"set it to 1\.0 there"):
        edited(text, {"state.presence_on_s": 1.0})


def test_every_tunable_key_is_of_a_section() -> None:
    assert all(path.count(".") == 1 for path in live_keys())


def value_for(key: Key) -> st.SearchStrategy:
    if key.choices:
        return st.sampled_from(key.choices)
    if key.type == "list":
        return st.just([{"name": "z", "polygon": [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]}])
    if key.type is bool:
        return st.booleans()
    return st.integers(1, 30) if key.type is int else st.floats(0.1, 1.0)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_in_the_commented_file_any_keys_can_be_set_and_set_again(data: st.DataObject) -> None:
    keys = data.draw(st.lists(st.sampled_from(sorted(live_keys())), min_size=1, max_size=6, unique=True))
    text = commented_yaml()
    for _ in range(2):
        values = {path: data.draw(value_for(live_keys()[path])) for path in keys}
        changed = edited(text, values)
        sections = yaml.safe_load(changed)
        assert {path: sections[path.split(".")[0]][path.split(".")[1]] for path in keys} == values
        removed = [line for line in difflib.ndiff(text.splitlines(), changed.splitlines()) if line.startswith("- ")]
        assert all("#" not in line for line in removed)
        text = changed
