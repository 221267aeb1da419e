"""Anything at all as request, configuration or recording: an answer or a clear refusal, never a traceback, never another change.

The suite tries a few hundred inputs of each kind; ``scripts/fuzz`` tries 10,000.
"""

import itertools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from edge_node.config.files import commented_yaml
from edge_node.config.keys import all_keys, live_keys, value_of
from edge_node.config.load import load
from edge_node.config.models import Config
from edge_node.config.settings import Settings, overlay_file
from edge_node.errors import ConfigError, RecordingError
from edge_node.recordings.export import FORMATS
from edge_node.recordings.read import people_of, read_recording
from edge_node.sink.messages import encode_pose, pose, read_pose
from edge_node.tuning import Tuning
from tests.recordings.made import people

EXAMPLES = int(os.environ.get("EDGE_NODE_FUZZ_EXAMPLES", "100"))
fuzz = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))

KEYS = sorted(all_keys())
VERBS = ["reload", "reset_tuning", "restart", "announce"]
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
json_values = st.recursive(scalars, lambda v: st.lists(v, max_size=4) | st.dictionaries(st.text(max_size=8), v, max_size=4), max_leaves=12)
zones = st.lists(
    st.fixed_dictionaries(
        {"name": st.text(max_size=6) | st.just("sofa"), "polygon": st.lists(st.lists(st.floats(-1, 2), max_size=3), max_size=5)}
    ),
    max_size=3,
)
payloads = (
    st.binary(max_size=200)
    | st.text(max_size=200).map(lambda t: t.encode("utf-8", "surrogatepass"))
    | (json_values | zones).map(lambda v: json.dumps(v).encode())
    | st.sampled_from(["ON", "off", "1", "0.5", "12.0", "null", "flat", "named", "debug", '{"id": "a"}', "{}", ""]).map(str.encode)
    | st.sampled_from([b"[" * 9000, b'{"a":' * 3000, b"9" * 9000, b"&a [*a,*a]", b"!!python/object/apply:os.system [id]"])
)
names = st.sampled_from([*KEYS, *VERBS]) | st.text(max_size=40)
requests = st.lists(st.tuples(st.sampled_from(["set", "cmd"]), names, payloads, st.booleans()), min_size=1, max_size=6)


def untouchable(config: Config) -> dict[str, Any]:
    return {path: value_of(config, path) for path in KEYS if path not in live_keys()}


@fuzz
@given(asked=requests)
def test_no_request_raises_or_changes_what_may_not_be_tuned(asked: list[Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    state = tmp_path_factory.mktemp("state", numbered=True)
    node = Settings(lambda: load(None, {}, ["node.name=fuzzed"]), state)
    done: list[str] = []
    tuning = Tuning(node, {verb: (lambda verb=verb: done.append(verb)) for verb in ("restart", "announce")})
    before = untouchable(node.current)
    for i, (kind, name, payload, retained) in enumerate(asked):
        current, count = node.current, len(done)
        answer = tuning.handle(kind, name, payload, retained, 1e12 + i)
        if answer is None or not answer.ok:
            assert node.current is current
            assert len(done) == count
        if answer is not None:
            assert answer.ok == (answer.reason is None)
            orjson.dumps({"name": answer.name, "value": answer.value if isinstance(answer.value, bool | int | float | str) else None})
        if answer is not None and answer.ok:
            assert name in (live_keys() if kind == "set" else VERBS)
        assert not (retained and answer)
    assert untouchable(node.current) == before
    overlay = overlay_file(state, "fuzzed")
    assert set(json.loads(overlay.read_text()) if overlay.exists() else {}) <= set(live_keys())
    assert Settings(lambda: load(None, {}, ["node.name=fuzzed"]), state).current == node.current
    assert {p.name for p in state.iterdir()} <= {overlay.name}


lines = commented_yaml().splitlines()


@st.composite
def damaged_files(draw: st.DrawFn) -> str:
    """The commented file with some keys taken out of their comments, and pieces of it changed, doubled or lost."""
    out: list[str] = []
    for line in lines:
        stripped = line.lstrip(" #")
        if stripped.split(":")[0].isidentifier() and draw(st.integers(0, 9)) == 0:
            indent = line[: len(line) - len(line.lstrip())]
            value = draw(scalars | zones | st.just(stripped.partition(": ")[2]))
            line = f"{indent}{stripped.split(':')[0]}: {value}"  # noqa: PLW2901 - the line as damaged
        out.append(line)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(out) - 1))
        line, tail = out[at], draw(st.text(max_size=10))
        out[at] = draw(st.sampled_from([line[1:], line * 2, "\t" + line, "", line + tail]))
    return "\n".join(out)


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in itertools.pairwise("abcdefgh")
)
"""Nine to the eighth values in eight lines."""
leaves = st.sampled_from([key.split(".")[-1] for key in KEYS]) | st.text(max_size=5)
sections = st.sampled_from([*Config.model_fields, "nonsense"])
trees = st.dictionaries(sections, st.dictionaries(leaves, json_values | zones, max_size=4) | json_values, max_size=4)


@fuzz
@example(text="[" * 5000)
@example(text="a: " * 3000)
@example(text="- " * 5000)
@example(text="a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n")
@example(text="camera: &a {width: *a}")
@example(text=LAUGHS)
@example(text="[" * 200_000)
@example(text="? [1, 2]\n: 3")
@example(text="camera: !!python/object/apply:os.system [id]")
@example(text="camera: {fps: 2001-99-99}")
@example(text="node: {name: 0b}\ncamera: {fps: 1e400}")
@given(text=st.text(max_size=100) | damaged_files() | trees.map(json.dumps))
def test_any_file_is_a_configuration_or_says_what_is_wrong(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.getbasetemp() / "fuzzed.yaml"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    loads_or_says_why(lambda: load(file, {}))


@fuzz
@example(words=[("camera", "&a [*a]")], environment=False)
@example(words=[("camera.fps", "&a {fps: *a}")], environment=True)
@example(words=[("state.zones", "[" * 3000)], environment=False)
@example(words=[("state.zones", "- " * 3000)], environment=False)
@given(
    words=st.lists(st.tuples(st.sampled_from(KEYS) | st.text(max_size=12), st.text(max_size=12) | json_values.map(json.dumps)), max_size=3),
    environment=st.booleans(),
)
def test_any_override_is_a_configuration_or_says_what_is_wrong(words: list[tuple[str, str]], environment: bool) -> None:
    if environment:
        loads_or_says_why(lambda: load(None, {"EDGE_NODE__" + k.upper().replace(".", "__"): v for k, v in words}))
    else:
        loads_or_says_why(lambda: load(None, {}, [f"{k}={v}" for k, v in words]))


def loads_or_says_why(read: Callable[[], Config]) -> None:
    try:
        read()
    except ConfigError as error:
        problems = error.problems
    else:
        return
    assert problems
    assert all(problem.strip() for problem in problems)


@fuzz
@given(raw=st.binary(max_size=60) | json_values.map(lambda v: json.dumps(v).encode()))
def test_any_overlay_left_on_disk_is_used_or_set_aside(raw: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    state: Path = tmp_path_factory.mktemp("overlay", numbered=True)
    overlay_file(state, "fuzzed").write_bytes(raw)
    node = Settings(lambda: load(None, {}, ["node.name=fuzzed"]), state)
    assert set(node.overlay) <= set(live_keys())


extremes = st.sampled_from([0, -1, 1, 65_535, 65_536, 2**53, 2**63, -(2**63), 1e4, -1e4, 1e300, -1e308, 1e-300, 253_402_300_799])
fields = st.sampled_from([*pose(people(0)), *(("people", 0, field) for field in ("id", "score", "box", "keypoints", "predicted"))])
damages = st.lists(st.tuples(fields, extremes | json_values | st.lists(extremes, min_size=4, max_size=4)), max_size=2)


@st.composite
def damaged_recordings(draw: st.DrawFn) -> bytes:
    """A message of somebody and up to three more, of which some values, and of all a byte, are changed."""
    lines = [encode_pose(people(0))]
    for seq in range(1, draw(st.integers(1, 4))):
        message: Any = json.loads(encode_pose(people(seq)))
        for path, value in draw(damages):
            *outer, last = path if isinstance(path, tuple) else (path,)
            if outer and not (isinstance(message["people"], list) and message["people"] and isinstance(message["people"][0], dict)):
                continue
            (message["people"][0] if outer else message)[last] = value
        lines.append(json.dumps(message).encode())
    content = b"\n".join(lines) + draw(st.sampled_from([b"\n", b""]))
    at = draw(st.integers(0, len(content)))
    return content[:at] + draw(st.binary(max_size=1)) + content[at + draw(st.integers(0, 1)) :]


@fuzz
@given(content=damaged_recordings())
def test_any_recording_is_used_or_says_what_is_wrong(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp()
    path = folder / "fuzzed.jsonl"
    path.write_bytes(content)
    messages, refusal = [], ""
    try:
        messages = list(read_recording(path))
    except RecordingError as error:
        refusal = str(error)
    assert bool(messages) != bool(refusal)
    assert "\n" not in refusal
    for message in messages:
        read_pose(encode_pose(people_of(message)))
    for form, export in FORMATS.items():
        assert export(messages, folder / f"fuzzed.{form}") == sum(len(message["people"]) for message in messages)
