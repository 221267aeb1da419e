"""The documents about the messages: checked by the tools their readers use, and against what a real run sends."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import jsonschema
import pytest

from edge_node.sink.schemas import asyncapi, json_schemas
from tests.sink.parts import publish_raw, wait_for

ROOT = Path(__file__).parents[2]
PACKAGES = ("@asyncapi/parser@3.6.3", "mqtt@5.14.1")


@pytest.fixture(scope="module")
def npm():
    """A folder with the official AsyncAPI parser and mqtt.js in it, installed once."""
    assert shutil.which("npm"), "npm is not installed: sudo apt install nodejs npm"
    folder = ROOT / ".cache" / "npm-mqtt"
    folder.mkdir(parents=True, exist_ok=True)
    stamp = folder / "installed"
    if not stamp.exists() or stamp.read_text() != repr(PACKAGES):
        (folder / "package.json").write_text('{"private": true, "type": "module"}')
        # No install scripts: one package down there would report home.
        command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(folder), *PACKAGES]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        stamp.write_text(repr(PACKAGES))
    return folder


CHECK = """
import { Parser, fromFile } from "@asyncapi/parser";
const said = [];
for (const file of process.argv.slice(2)) {
  const { document, diagnostics } = await fromFile(new Parser(), file).parse();
  const found = diagnostics.map((d) => ({ severity: d.severity, code: d.code, message: d.message, path: d.path.join(".") }));
  said.push({ found, channels: document ? document.channels().all().map((c) => c.address()) : null });
}
console.log(JSON.stringify(said));
"""


@pytest.mark.timeout(360)
def test_the_asyncapi_document_is_valid_for_the_official_parser_which_notices_a_broken_one(npm, tmp_path):
    document = ROOT / "docs" / "asyncapi.yaml"
    broken = tmp_path / "broken.yaml"
    text = document.read_text().replace("./schemas", str(ROOT / "docs" / "schemas"))
    broken.write_text(text.replace("action: send", "action: shout"))
    (npm / "check.mjs").write_text(CHECK)
    done = subprocess.run(["node", "check.mjs", str(document), str(broken)], cwd=npm, capture_output=True, text=True, check=True)
    ours, spoilt = json.loads(done.stdout)
    assert [f for f in ours["found"] if f["severity"] <= 1 and f["code"] != "asyncapi-latest-version"] == []  # 0 error, 1 warning
    assert "edge_node/v1/{node}/pose" in ours["channels"]
    assert [f for f in spoilt["found"] if f["severity"] == 0]


def strict(schema):
    """The same schema, but a field that it does not name is a mistake."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: strict(value) for key, value in schema.items()}
    if "properties" in closed and isinstance(closed["properties"], dict) and closed.get("type") == "object":
        closed.setdefault("additionalProperties", False)
    return closed


@pytest.fixture(scope="module")
def validators():
    made = {}
    for name, schema in json_schemas().items():
        jsonschema.Draft7Validator.check_schema(schema)
        made[name.removesuffix(".schema.json")] = jsonschema.Draft7Validator(strict(schema))
    return made


@pytest.mark.parametrize("case", [("squats", "flat", False), ("two_people_jumping", "named", True)])
def test_every_message_of_a_run_over_a_clip_conforms(broker, ear_at, shared, validators, case):
    clip, layout, taking_turns = case
    ear = ear_at(broker.port)
    options = {
        "camera.source": next(shared.clips.glob(f"{clip}.*")),
        "model.directory": shared.models,
        "mqtt.port": broker.port,
        "mqtt.format": layout,
        "node.name": "n1",
        "homeassistant.enabled": "true",
        "pose.max_inferences": 1 if taking_turns else 0,
    }
    words = [word for key, value in options.items() for word in ("--set", f"{key}={value}")]
    node = subprocess.Popen([sys.executable, "-m", "edge_node", "run", "--frames", "30", *words], cwd=ROOT)
    wait_for(lambda: ear.of("config"), 60)
    ear.client.publish("edge_node/v1/n1/set/mqtt.max_rate_hz", b"0", qos=1)
    ear.client.publish("edge_node/v1/n1/cmd/nothing", b"", qos=1)
    assert node.wait(60) == 0
    wait_for(lambda: ear.of("status")[-1].json["state"] == "offline")
    assert [h.json["seq"] for h in ear.of("pose")] == list(range(30))
    marks = [person.get("predicted") for h in ear.of("pose") for person in h.json["people"]]
    assert set(marks) == ({None, True} if taking_turns else {None})
    kinds = set()
    for heard in ear.of("#"):
        kind = heard.topic.split("/")[3]
        if kind not in ("set", "cmd"):
            validators[kind].validate(heard.json)
            kinds.add(kind)
    assert kinds >= {"status", "info", "health", "config", "pose", "state"}


def test_messages_expire_when_the_asyncapi_document_says(broker, ear_at, sender):
    ear = ear_at(broker.port)
    node = sender(f"mqtt.port={broker.port}", "state.presence_on_s=0.0")
    wait_for(lambda: ear.of("config"))
    ear.client.publish("edge_node/v1/n1/cmd/nothing", b"", qos=1)
    node.run(0.5, 30)
    wait_for(lambda: ear.of("result") and ear.of("event/presence") and ear.of("pose"))
    operations = asyncapi()["operations"]
    for name in ("status", "info", "health", "pose", "state", "event", "config", "result"):
        heard = [h for h in ear.of("#") if h.topic.split("/")[3] == name]
        said = {getattr(h.properties, "MessageExpiryInterval", None) for h in heard}
        assert said == {operations[f"send_{name}"]["bindings"]["mqtt"].get("messageExpiryInterval")}, name


# ---- the page for those who write a subscriber


def code_blocks(language):
    text = (ROOT / "docs" / "subscribe.md").read_text()
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def run_and_read(command, folder, ready, sender, port):
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    lines = []
    threading.Thread(target=lambda: lines.extend(process.stdout), daemon=True).start()
    node = sender(f"mqtt.port={port}")
    node.online()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and not any(ready in line for line in lines):
        node.run(0.2, 30)
    publish_raw(port, b"edge_node/v1/renamed/status", b"")
    node.run(1.0, 30)
    assert process.poll() is None, "it ended at a message that takes away a retained one"
    process.kill()
    process.wait()
    return [line.rstrip() for line in lines]


@pytest.mark.parametrize("number", range(2))
def test_the_python_subscribers_of_the_documentation_run(broker, sender, tmp_path, number):
    code = code_blocks("python")[number]
    (tmp_path / "subscriber.py").write_text(code.replace("1883", str(broker.port)))
    lines = run_and_read([sys.executable, "subscriber.py"], tmp_path, "nose", sender, broker.port)
    assert [line for line in lines if line.startswith("n1: ") and "nose" in line]


def test_the_javascript_subscriber_of_the_documentation_runs(broker, sender, npm):
    (code,) = code_blocks("javascript")
    (npm / "subscriber.mjs").write_text(code.replace("1883", str(broker.port)))
    lines = run_and_read(["node", "subscriber.mjs"], npm, "nose", sender, broker.port)
    assert "n1 is online" in lines
    assert [line for line in lines if line.startswith("n1: the nose of person 1 is at ")]
