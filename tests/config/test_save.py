"""Saving into the user's file: what is planned is what the file will say, or is refused by the file's own name."""

from pathlib import Path

import pytest

from edge_node.config.save import plan
from edge_node.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("smoothing: {enabled: &on false}\ncamera: {hflip: *on}\n", "{file}: smoothing.enabled: cannot be changed safely; set it by hand"),
        (
            "camera: {source: http://camera/?size=1}\n",
            "smoothing.enabled: the file is written in a way that is better changed by hand; set it to true there",
        ),
    ],
    ids=["an anchor that would go", "what only libyaml reads"],
)
def test_a_file_that_cannot_be_changed_safely_is_refused_with_what_to_do(tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "edge-node.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as refused:
        plan(file, {"smoothing.enabled": True})
    assert refused.value.problems == [reason.format(file=file)]
    assert list(tmp_path.iterdir()) == [file]
