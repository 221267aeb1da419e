"""The files made from the configuration's models."""

import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from edge_node.config.files import commented_yaml, json_schema
from edge_node.config.keys import all_keys
from edge_node.config.load import load


def test_every_key_stands_in_the_commented_file_with_its_description() -> None:
    text = " ".join(commented_yaml().replace("#", " ").split())
    for key in all_keys().values():
        assert key.description, key.path
        assert " ".join(key.description.split()) in text
        assert f"{key.path.rsplit('.', 1)[-1]}:" in text


def test_the_schema_accepts_the_whole_file_and_refuses_an_unknown_key() -> None:
    every = {path: key.default for path, key in all_keys().items()}
    whole = yaml.safe_load(commented_yaml(every))
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(whole, schema)
    whole["camera"]["widht"] = 3
    with pytest.raises(jsonschema.ValidationError, match="widht"):
        jsonschema.validate(whole, schema)


def test_standard_output_may_be_written_as_the_commented_file_offers_it(tmp_path: Path) -> None:
    (offered,) = re.findall(r"(\S+) is standard output", " ".join(commented_yaml().replace("#", " ").split()))
    file = tmp_path / "edge-node.yaml"
    file.write_text(f"record:\n  path: {offered}\n")
    assert load(file, {}).record.path == "-"
