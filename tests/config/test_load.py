"""Reading the configuration: what wins over what, and how mistakes are told."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.config.files import commented_yaml
from edge_node.config.keys import all_keys, value_of
from edge_node.config.load import load, override
from edge_node.config.models import Config
from edge_node.errors import ConfigError


def write(folder: Path, text: str) -> Path:
    file = folder / "edge-node.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def problems(file: Path | None, environment: dict[str, str] | None = None, overrides: tuple[str, ...] = ()) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(file, environment or {}, overrides)
    return caught.value.problems


def test_an_empty_file_means_the_defaults(tmp_path: Path) -> None:
    assert load(write(tmp_path, ""), {}) == Config()


@pytest.mark.parametrize("text", ["---\n", "---\n# camera:\n#   fps: 10\n...\n", "~\n"])
def test_a_document_with_nothing_in_it_is_an_empty_file(tmp_path: Path, text: str) -> None:
    assert load(write(tmp_path, text), {}) == Config()


def test_a_section_with_only_comments_means_its_defaults(tmp_path: Path) -> None:
    assert load(write(tmp_path, "mqtt:\n  tls:\n    # enabled: true\n"), {}) == Config()


def test_the_commented_file_means_the_defaults_and_with_every_key_set_it_still_does(tmp_path: Path) -> None:
    assert load(write(tmp_path, commented_yaml()), {}) == Config()
    every = {path: key.default for path, key in all_keys().items()}
    assert load(write(tmp_path, commented_yaml(every)), {}) == Config()


def test_environment_wins_over_file_and_the_command_line_over_both(tmp_path: Path) -> None:
    file = write(tmp_path, "camera:\n  fps: 10\n  width: 320\n  height: 240\n")
    config = load(file, {"EDGE_NODE__CAMERA__FPS": "20", "EDGE_NODE__CAMERA__WIDTH": "640"}, ["camera.fps=25"])
    assert (config.camera.fps, config.camera.width, config.camera.height) == (25, 640, 240)


def test_an_override_may_go_into_a_nested_section() -> None:
    assert load(None, {}, ["mqtt.tls.enabled=true"]).mqtt.tls.enabled is True


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("camera:\n  widht: 640\n", "2:3: camera.widht: unknown key, did you mean width?"),
        ("camra:\n  width: 640\n", "1:1: camra: unknown key, did you mean camera?"),
        ("mqtt:\n  tls:\n    ca_fil: x\n", "3:5: mqtt.tls.ca_fil: unknown key, did you mean ca_file?"),
        ("camera:\n  fps: fast\n", "2:3: camera.fps: should be a valid number, not 'fast'"),
        ("camera:\n  loop: 1\n", "2:3: camera.loop: should be a valid boolean, not 1"),
        ("pose:\n  max_people: 99\n", "2:3: pose.max_people: should be less than or equal to 32, not 99"),
        ("model:\n  accelerator: gpu\n", "2:3: model.accelerator: 'gpu' is not one of 'auto', 'edgetpu' or 'cpu'"),
        (f"model:\n  device: usb:{'1' * 5000}\n", "2:3: model.device: 'usb:1111"),
        ("model:\n  device: usb:\u0661\n", "2:3: model.device: 'usb:\u0661' does not have the form"),
        ("camera:\n  fps: 10\n  fps: 20\n", "3:3: camera.fps: stands twice; keep one of them"),
        ("camera: [1, 2\n", "not valid YAML"),
        ("camera:\n\tfps: 10\n", "2:1: not valid YAML: found character that cannot start any token; indent with spaces, not tabs"),
        ("camera:\n  fps: 10\n\tloop: true\n", "3:1: not valid YAML: found a tab character that violates indentation; indent with spaces"),
        ("mqtt:\n  username: @é\n", "2:13: not valid YAML: found character that cannot start any token with @; put the value in quotes"),
        ("- a\n", "1:1: expected sections such as camera: and mqtt:, found a list"),
        (
            "state:\n  zones:\n  - name: bed\n    polygon: [[0, 0], [2, 0], [1, 1]]\n",
            "4:5: state.zones.0.polygon: every coordinate must be",
        ),
        (
            "state:\n  zones:\n  - {name: bed, polygon: [[0, 0], [1, 0], [1, 1]]}\n  - {name: bed, polygon: [[0, 0], [1, 0], [0, 1]]}\n",
            "2:3: state.zones: two zones have the name bed",
        ),
        (
            "state:\n  zones:\n  - {name: bed, polygon: [[0, 0], [1, true], [1, 1]]}\n",
            "3:39: state.zones.0.polygon.1.1: should be a valid number, not True",
        ),
        ("state:\n  zones:\n  - nam: bed\n", "3:5: state.zones.0.nam: unknown key, did you mean name?"),
        (
            "state:\n  zones:\n  - {name: bed, polygon: [[0, 0], [1, 0]]}\n",
            "3:17: state.zones.0.polygon: should have at least 3 items, not 2",
        ),
        ("? [camera, fps]\n: 10\n", "1:3: configuration: a key must be a word, not a list"),
        ("camera:\n  ? {fps: 10}\n", "2:5: camera: a key must be a word, not a section"),
        (f"camera:\n  width: 0x{'F' * 5000}\n", "2:3: camera.width: should be less than or equal to 7680, not a number beyond all bounds"),
        (f"node:\n  name: 0x{'F' * 5000}\n", "2:3: node.name: should be a valid string, not a number beyond all bounds"),
        ("record:\n  path: ''\n", "2:3: record.path: should have at least 1 character, not ''"),
        (
            "state:\n  zones: [{name: a, polygon: [[0, 0], [1, 0]]}]\n",
            "2:21: state.zones.0.polygon: should have at least 3 items, not 2",
        ),
        (f"mqtt:\n  tls:\n    alpn: [{', '.join('a' * 33)}]\n", "3:5: mqtt.tls.alpn: should have at most 32 items, not 33"),
        ("web:\n  key_file: key.pem\n", "2:3: web.key_file: there is no certificate_file for this key"),
        ("mqtt:\n  tls:\n    key_file: key.pem\n", "3:5: mqtt.tls.key_file: there is no certificate_file for this key"),
        ("camera:\n  fps: !!timestamp 5\n", "2:3: camera.fps: is not what its tag says"),
        ("camera:\n  loop: !!bool 3\n", "2:3: camera.loop: is not what its tag says"),
        ('web:\n  host: "a\\0b"\n', "2:3: web.host: no text may have the character NUL in it"),
        ("node:\n  name: my node\n", "2:3: node.name: 'my node' does not have the form"),
        ("mqtt:\n  host: mqtt://broker\n", "2:3: mqtt.host: should be a host name or address and nothing else"),
        ("mqtt:\n  host: broker:1883\n", "2:3: mqtt.host: should be a host name or address and nothing else"),
        ("mqtt:\n  host: '[::1]'\n", "2:3: mqtt.host: should be a host name or address and nothing else"),
        ("mqtt:\n  host: 'broker '\n", "2:3: mqtt.host: should be a host name or address and nothing else"),
        ("mqtt:\n  fallback_brokers: [{host: me@b2}]\n", "2:23: mqtt.fallback_brokers.0.host: should be a host name or address"),
        ("mqtt:\n  password: x\n", "2:3: mqtt.password: is no key; give it in EDGE_NODE_MQTT_PASSWORD or the systemd credential"),
        ("camera:\n  password: x\n", "give it in EDGE_NODE_CAMERA_PASSWORD or the systemd credential edge-node.camera-password"),
        ("web:\n  token: x\n", "give it in EDGE_NODE_WEB_TOKEN or the systemd credential edge-node.web-token"),
        ("mqtt:\n  protocol: 4\n", "2:3: mqtt.protocol: 4 is not one of 'auto', '5' or '3.1.1'"),
        ("mqtt:\n  tls:\n    alpn: ['']\n", "3:12: mqtt.tls.alpn.0: '' does not have the form"),
        ("mqtt:\n  tls:\n    alpn: [é]\n", "3:12: mqtt.tls.alpn.0: 'é' does not have the form"),
        (f"mqtt:\n  client_id: {'x' * 65_536}\n", "2:3: mqtt.client_id: should have at most 16383 characters"),
        (f"mqtt:\n  username: {'é' * 40_000}\n", "2:3: mqtt.username: should have at most 16383 characters"),
        ('mqtt:\n  username: "a\\0b"\n', "2:3: mqtt.username: no text may have the character NUL in it"),
        ("homeassistant:\n  prefix: ''\n", "2:3: homeassistant.prefix: '' does not have the form"),
        ("homeassistant:\n  prefix: ha/#\n", "2:3: homeassistant.prefix: 'ha/#' does not have the form"),
        ('homeassistant:\n  prefix: "ha\\0"\n', "2:3: homeassistant.prefix: 'ha\\x00' does not have the form"),
    ],
)
def test_a_mistake_is_told_with_line_column_and_key(tmp_path: Path, text: str, expected: str) -> None:
    file = write(tmp_path, text)
    assert any(problem.startswith(f"{file}:") and expected in problem for problem in problems(file))


@pytest.mark.parametrize("host", ["broker.local", "10.0.0.2", "::1", "fe80::1%eth0", "my_broker", "süd.example"])
def test_a_broker_is_named_by_its_host_alone(host: str) -> None:
    assert load(None, {}, [f"mqtt.host='{host}'"]).mqtt.host == host


def test_the_mqtt_version_5_may_be_written_as_the_number_it_is_to_yaml(tmp_path: Path) -> None:
    assert load(write(tmp_path, "mqtt:\n  protocol: 5\n"), {}).mqtt.protocol == "5"
    assert load(None, {}, ["mqtt.protocol=5"]).mqtt.protocol == "5"


@pytest.mark.parametrize(
    ("value", "shown"),
    [("", "None"), ("yes", "True"), ("1.5", "1.5"), ("[0]", "a list"), (f"0x{'F' * 5000}", "a number beyond all bounds")],
)
def test_a_source_of_a_wrong_type_is_one_mistake(tmp_path: Path, value: str, shown: str) -> None:
    file = write(tmp_path, f"camera:\n  source: {value}\n")
    assert problems(file) == [f"{file}:2:3: camera.source: should be text or a whole number, not {shown}"]


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    file = write(tmp_path, "camera:\n  widht: 640\n  fps: fast\n")
    found = problems(file, {"EDGE_NODE__LOG__LEVEL": "loud"}, ("camera.width=abc", "nonsense"))
    assert len(found) == 5
    assert any(p.startswith("environment variable EDGE_NODE__LOG__LEVEL: log.level: 'loud' is not one of") for p in found)
    assert any(p.startswith("--set camera.width=abc: camera.width: should be a valid integer") for p in found)
    assert "--set nonsense: expected KEY=VALUE, such as camera.fps=15" in found


def test_a_section_that_is_none_is_told_also_when_a_key_of_it_is_set_elsewhere(tmp_path: Path) -> None:
    file = write(tmp_path, "camera: [1, 2]\nmqtt: hello\nmodel: 5\n")
    found = problems(file, {"EDGE_NODE__MODEL__NAME": "marker", "EDGE_NODE__POSE": "true"}, ("camera.fps=5", "mqtt.port=1", "pose.nms=oks"))
    assert sorted(found) == [
        f"{file}:1:1: camera: should be a section of keys, not a list",
        f"{file}:2:1: mqtt: should be a section of keys, not 'hello'",
        f"{file}:3:1: model: should be a section of keys, not 5",
        "environment variable EDGE_NODE__POSE: pose: should be a section of keys, not True",
    ]


def test_a_variable_with_one_underscore_is_told_and_not_passed_over() -> None:
    found = problems(None, {"EDGE_NODE_MQTT_HOST": "broker", "EDGE_NODE_STATE_PRESENCE_ON_S": "2"})
    assert found == [
        "environment variable EDGE_NODE_MQTT_HOST: unknown, did you mean EDGE_NODE__MQTT__HOST?",
        "environment variable EDGE_NODE_STATE_PRESENCE_ON_S: unknown, did you mean EDGE_NODE__STATE__PRESENCE_ON_S?",
    ]


def test_variables_that_are_no_keys_are_let_pass() -> None:
    own = ("MQTT_PASSWORD", "CAMERA_USERNAME", "CAMERA_PASSWORD", "WEB_TOKEN", "MODEL_MIRROR", "SHARED", "PYTHON")
    assert load(None, {f"EDGE_NODE_{name}": "x" for name in own}) == Config()


def test_a_key_below_a_value_is_told(tmp_path: Path) -> None:
    file = write(tmp_path, "state:\n  zones: []\ncamera:\n  fps: 5\n")
    assert problems(file, {"EDGE_NODE__CAMERA__FPS__MAX": "9"}, ("state.zones.0.name=bed",)) == [
        "environment variable EDGE_NODE__CAMERA__FPS__MAX: camera.fps: has no keys of its own",
        "--set state.zones.0.name=bed: state.zones: has no keys of its own",
    ]


def test_a_mistake_inside_an_overriding_value_is_told_at_the_override(tmp_path: Path) -> None:
    file = write(tmp_path, "state:\n  zones:\n  - {name: bed, polygon: [[0, 0], [1, 0], [1, 1]]}\n")
    override = "state.zones=[{name: bed, polygon: [[0, 0], [1e-300, 0], [1, 1]]}]"  # a string to YAML, which wants 1.0e-300
    assert problems(file, {}, (override,)) == [f"--set {override}: state.zones.0.polygon.1.0: should be a valid number, not '1e-300'"]
    variable = {"EDGE_NODE__STATE__ZONES": "[{name: bed, polygon: [[0, 0], [1, 0]]}]"}
    (told,) = problems(file, variable)
    assert told.startswith("environment variable EDGE_NODE__STATE__ZONES: state.zones.0.polygon: ")


def test_a_list_whose_items_are_all_comments_is_told_as_what_it_is(tmp_path: Path) -> None:
    file = write(tmp_path, "state:\n  zones:\n    # - name: bed\n")
    assert problems(file) == [f"{file}:2:3: state.zones: should be a valid list, not None"]


def test_a_mistake_in_the_address_of_a_camera_is_told_without_its_password(tmp_path: Path) -> None:
    file = write(tmp_path, "camera:\n  source: rtsp://me:geheim@camera:99999/\n")
    (problem,) = problems(file)
    assert problem.startswith(f"{file}:2:3: camera.source: not a usable address; expected rtsp://USER:PASSWORD@HOST:PORT/PATH with a port")
    assert "geheim" not in problem


def test_a_login_of_the_camera_that_cannot_be_read_is_one_mistake_among_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_NODE_CAMERA_PASSWORD", "geheim\udcff")
    file = write(tmp_path, "camera:\n  source: rtsp://camera/\n  fps: 0\n")
    assert sorted(problems(file)) == [
        f"{file}:2:3: camera.source: environment variable EDGE_NODE_CAMERA_PASSWORD: is not text in UTF-8",
        f"{file}:3:3: camera.fps: should be greater than or equal to 0.001, not 0",
    ]


def test_an_edge_tpu_that_is_required_and_never_to_be_used_is_a_mistake() -> None:
    found = problems(None, {}, ("model.accelerator=cpu", "model.require_edgetpu=true"))
    assert found == ["--set model.require_edgetpu=true: model.require_edgetpu: should be false where model.accelerator is cpu"]
    assert load(None, {}, ("model.accelerator=auto", "model.require_edgetpu=true")).model.require_edgetpu


def test_the_device_is_no_option_of_the_edge_tpu():
    asked = "model.edgetpu_options={Performance: Low, device: 'usb:1'}"
    assert problems(None, {}, (asked,)) == [f"--set {asked}: model.edgetpu_options: should leave device to model.device"]


def test_a_value_that_is_not_utf8_is_told() -> None:
    with pytest.raises(ConfigError) as refused:
        load(None, {"EDGE_NODE__CAMERA__SOURCE": "caf\udce9.mp4"}, ["record.path=caf\udce9"])
    why = "not UTF-8, as a configuration must be; a file of such a name has to be renamed"
    assert refused.value.problems == [
        f"environment variable EDGE_NODE__CAMERA__SOURCE: {why}",
        f"--set record.path=caf\udce9: {why}",
    ]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("[1", "did not find expected ',' or ']'"),
        ("!!timestamp 5", "is not what its tag says"),
        ("!!int ''", "is not what its tag says"),
        ("a\x01b", "unacceptable character #x0001: control characters are not allowed"),
        ("2020-99-99", "month must be in 1..12"),
    ],
)
def test_a_value_of_the_command_line_that_is_no_yaml_is_told_in_one_line(value: str, said: str) -> None:
    (problem,) = problems(None, {}, (f"camera.fps={value}",))
    told = f"--set camera.fps={value}: cannot be read as YAML: {said}"
    assert problem in (told, f"{told}, not 99")  # Python 3.14 says more of a date


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    file = tmp_path / "utf16.yaml"
    file.write_text("camera: {fps: 3}", encoding="utf-16")
    assert problems(file) == [f"{file}: cannot be read: it is not text in UTF-8"]
    assert problems(tmp_path) == [f"{tmp_path}: cannot be read: Is a directory"]


def test_a_missing_file_is_told_with_what_to_do(tmp_path: Path) -> None:
    assert problems(tmp_path / "none.yaml") == [f"{tmp_path}/none.yaml: no such file; write one with: edge-node setup"]


@given(st.text(max_size=200))
def test_no_text_makes_it_fail_other_than_by_a_config_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    file = write(tmp_path_factory.getbasetemp(), text)
    with contextlib.suppress(ConfigError):
        load(file, {})


@given(
    st.lists(st.sampled_from(sorted(all_keys())), max_size=4),
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(), st.lists(st.integers())),
)
def test_an_override_replaces_just_the_keys_it_names(paths: list[str], value: object) -> None:
    before = Config()
    try:
        after = override(before, dict.fromkeys(paths, value))
    except ConfigError:
        return
    for path in all_keys():
        if path not in paths:
            assert value_of(after, path) == value_of(before, path)
