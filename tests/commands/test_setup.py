"""``edge-node setup`` without a service: flags and a terminal, a real broker, the drawn scene as camera, the built-in model."""

import os
import pty
import signal
import socket
import stat
import subprocess
import sys
import textwrap
from types import SimpleNamespace

import pytest
import yaml

from edge_node import paths
from edge_node.cli import main
from edge_node.config.load import load, override
from edge_node.config.models import Config
from edge_node.errors import ConfigError
from edge_node.local_broker import local_broker, mosquitto
from edge_node.setup import service
from edge_node.setup.answers import BrokerAddress, broker_text, camera_value, parse_broker
from edge_node.setup.service import write_configuration, write_password
from tests.read_only import run_read_only

SMALL = "camera:\n  width: 320\n  height: 240\nmodel:\n  name: marker\n"


@pytest.fixture(scope="module")
def broker():
    with local_broker() as port:
        yield f"127.0.0.1:{port}"


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "edge-node.yaml"
    path.write_text(SMALL)
    return path


def setup(file, *words):
    return main(["setup", "-c", str(file), "--no-service", "--yes", *words])


def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_flags_are_tried_and_written_with_comments(file, broker, capsys):
    assert setup(file, "--name", "hall", "--camera", "synthetic", "--broker", broker, "--accelerator", "cpu") == 0
    told = capsys.readouterr().out
    for words in ("gives pictures: ", "a picture on the cpu", "took the login: MQTT 5", f"edge-node run -c {file}"):
        assert words in told
    config = load(file, {})
    assert (config.node.name, config.camera.source, config.model.accelerator) == ("hall", "synthetic", "cpu")
    assert f"{config.mqtt.host}:{config.mqtt.port}" == broker
    assert file.read_text().count("# ") > 100


def test_an_answer_of_cpu_ends_the_requirement_of_an_edge_tpu(file, broker):
    file.write_text(SMALL.replace("model:\n", "model:\n  require_edgetpu: true\n"))
    assert load(file, {}).model.require_edgetpu
    assert setup(file, "--camera", "synthetic", "--broker", broker, "--accelerator", "cpu") == 0
    assert not load(file, {}).model.require_edgetpu


def test_what_was_set_before_stays_and_the_file_before_is_kept(file, broker):
    assert setup(file, "--camera", "synthetic", "--broker", broker) == 0
    assert load(file, {}).camera.width == 320
    assert load(file, {}).model.name == "marker"
    assert file.with_name("edge-node.yaml.old").read_text() == SMALL


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--name", "my hall"], "name: node.name: 'my hall' does not have the form"),
        (["--camera", "/dev/video99"], "camera: "),
        (["--camera", "missing.mp4"], "camera: "),
        (["--camera", "synthetic", "--accelerator", "edgetpu"], "accelerator: the Edge TPU cannot be used: model marker"),
        (["--camera", "synthetic", "--broker", f"127.0.0.1:{closed_port()}"], "no broker listens at 127.0.0.1:"),
        (["--camera", "synthetic", "--broker", "no.such.host.invalid"], "unknown host in no.such.host.invalid:1883"),
        (["--camera", "synthetic", "--broker", "me:secret@host"], "a password does not belong into the address"),
        (["--camera", "synthetic", "--broker", "site/hall@host"], "in a user name write % @ : / as %25 %40 %3A %2F"),
    ],
)
def test_answer_that_does_not_work_is_told_and_nothing_is_changed(file, capsys, words, said):
    assert setup(file, *words) == 1
    error = capsys.readouterr().err
    assert said in error
    assert "nothing was changed" in error
    assert "Traceback" not in error
    assert file.read_text() == SMALL


@pytest.mark.parametrize(("content", "code", "said"), [(b"geheim\xff", 78, "is not text in UTF-8"), (None, 2, "No such file or directory")])
def test_password_file_that_cannot_be_read_is_told_before_anything_is_asked(file, capsys, content, code, said):
    password = file.with_name("hall.password")
    if content is not None:
        password.write_bytes(content)
    assert setup(file, "--camera", "synthetic", "--broker", "me@127.0.0.1", "--password-file", str(password)) == code
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", f"--password-file {password}: {said}\n")


def test_password_without_a_user_name_is_told(file, broker, capsys):
    password = file.with_name("hall.password")
    password.write_text("geheim\n")
    assert setup(file, "--camera", "synthetic", "--broker", broker, "--password-file", str(password)) == 1
    assert "--password-file goes with a user name; give it in the address: USER@HOST" in capsys.readouterr().err
    assert file.read_text() == SMALL


def test_mqtt_that_is_off_stays_off_where_no_broker_is_given(file, capsys):
    file.write_text(f"{SMALL}mqtt:\n  enabled: false\n  port: {closed_port()}\n")
    before = load(file, {}).mqtt
    assert setup(file, "--camera", "synthetic", "--name", "hall2") == 0
    assert "broker: none, MQTT is off: stays so, nothing is published over MQTT" in capsys.readouterr().out
    assert load(file, {}).node.name == "hall2"
    assert load(file, {}).mqtt == before


def test_mqtt_that_is_off_is_switched_on_by_a_broker(file, broker):
    file.write_text(f"{SMALL}mqtt:\n  enabled: false\n  host: 127.0.0.1\n  port: {broker.split(':')[1]}\n")
    assert setup(file, "--camera", "synthetic", "--broker", broker) == 0
    assert load(file, {}).mqtt.enabled


def test_broker_that_was_set_before_stays_whatever_its_user_is_called(file, broker, capsys):
    file.write_text(f"{SMALL}mqtt:\n  username: 'hall@site:1/2'\n  host: 127.0.0.1\n  port: {broker.split(':')[1]}\n")
    before = load(file, {}).mqtt
    assert setup(file, "--camera", "synthetic", "--name", "hall2") == 0
    assert f"broker: hall%40site%3A1%2F2@{broker}: took the login" in capsys.readouterr().out
    assert load(file, {}).mqtt == before


def test_mistyped_broker_is_told_although_a_fallback_would_take_the_login(file, broker, capsys):
    file.write_text(f"{SMALL}mqtt:\n  fallback_brokers:\n    - {{host: 127.0.0.1, port: {broker.split(':')[1]}}}\n")
    mistyped = f"127.0.0.1:{closed_port()}"
    assert setup(file, "--camera", "synthetic", "--broker", mistyped) == 1
    assert f"broker: no broker listens at {mistyped}" in capsys.readouterr().err
    assert setup(file, "--camera", "synthetic", "--broker", broker) == 0
    assert f"broker: {broker}: took the login" in capsys.readouterr().out
    assert [f"{one.host}:{one.port}" for one in load(file, {}).mqtt.fallback_brokers] == [broker]


def test_broker_that_is_away_is_told_where_its_fallback_lets_the_setup_go_on(file, broker, capsys):
    port = closed_port()
    fallback = f"- {{host: 127.0.0.1, port: {broker.split(':')[1]}}}"
    file.write_text(f"{SMALL}mqtt:\n  host: 127.0.0.1\n  port: {port}\n  fallback_brokers:\n    {fallback}\n")
    assert setup(file, "--camera", "synthetic", "--name", "hall2") == 0
    told = capsys.readouterr().out
    assert f"broker: 127.0.0.1:{port}: no broker listens at 127.0.0.1:{port}" in told
    assert f"; the fallback {broker} took the login: MQTT 5" in told


def test_question_for_the_broker_that_is_left_unanswered_leaves_mqtt_off(file, broker):
    file.write_text(f"{SMALL}mqtt:\n  enabled: false\n  host: 127.0.0.1\n  port: {broker.split(':')[1]}\n")
    steps = ("MQTT broker [", f"127.0.0.1:{closed_port()}\n".encode()), ("MQTT broker [", b"\n")
    told, code = answered(*steps, file=file, words=("--name", "hall2", "--camera", "synthetic", "--accelerator", "cpu"))
    assert code == 0, told
    assert "no broker listens" in told
    assert not load(file, {}).mqtt.enabled


def test_failing_answer_is_kept_when_asked(file, capsys):
    assert setup(file, "--camera", "synthetic", "--broker", f"127.0.0.1:{closed_port()}", "--keep-failing") == 0
    assert "does not work now, kept as asked" in capsys.readouterr().err


REAL = SMALL.replace("marker", "movenet-lightning")


def test_model_comes_from_the_folder_that_the_environment_names(file, broker, shared, monkeypatch):
    file.write_text(REAL)
    monkeypatch.setenv("EDGE_NODE_MODEL_MIRROR", str(shared.models))
    assert setup(file, "--camera", "synthetic", "--broker", broker, "--accelerator", "cpu") == 0
    assert len(list((file.parent / "cache/edge-node/models").iterdir())) == 1


def test_model_that_cannot_be_fetched_is_told_with_options_that_setup_has(file, monkeypatch, capsys):
    file.write_text(REAL)
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{closed_port()}")
    assert setup(file, "--camera", "synthetic", "--accelerator", "cpu") == 1
    assert "Without one, a folder that has the file can be given with --models or EDGE_NODE_MODEL_MIRROR\n" in capsys.readouterr().err


def test_folder_that_cannot_take_the_model_is_told_with_a_key_that_setup_reads(file, capsys):
    file.write_text(f"{REAL}  directory: {file}/models\n")
    assert setup(file, "--camera", "synthetic", "--accelerator", "cpu") == 1
    assert "Not a directory; choose another model.directory in the configuration\n" in capsys.readouterr().err


def test_questions_on_a_terminal_are_asked_again_until_the_answer_works(file, broker):
    try:
        parent, child = pty.openpty()
    except OSError:
        pytest.skip("a container without /dev/pts has no terminals")
    command = [sys.executable, "-m", "edge_node", "setup", "-c", str(file), "--no-service"]
    with subprocess.Popen(command, stdin=child, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as dialogue:
        os.close(child)
        os.write(parent, f"kit chen\nkitchen\nmissing.mp4\nsynthetic\n\n{broker}\n".encode())
        told = dialogue.stdout.read()
    os.close(parent)
    assert dialogue.returncode == 0, told
    assert "does not have the form" in told
    assert told.count("Camera [auto]: ") == 2
    assert load(file, {}).node.name == "kitchen"


def answered(*steps, file, words=()):
    """What ``setup`` says to somebody who types each answer when its question stands there, and its exit code."""
    try:
        parent, child = pty.openpty()
    except OSError:
        pytest.skip("a container without /dev/pts has no terminals")
    command = [sys.executable, "-m", "edge_node", "setup", "-c", str(file), *words]
    ways = {"stdin": child, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command, start_new_session=True, **ways) as dialogue:  # no terminal but this one, for passwords too
        os.close(child)
        told = [""]
        try:
            for question, answer in steps:
                while question not in told[-1] and (piece := os.read(dialogue.stdout.fileno(), 65_536)):
                    told[-1] += piece.decode()
                os.write(parent, answer)
                told.append("")
            told.append(dialogue.stdout.read().decode())
            dialogue.wait()
        finally:
            dialogue.kill()  # where a question never came
    os.close(parent)
    return "".join(told), dialogue.returncode


@pytest.fixture
def guarded_broker(tmp_path):
    """Lets ``hall`` in with the password ``geheim``, and nobody else."""
    port, passwords, configuration = closed_port(), tmp_path / "passwords", tmp_path / "broker.conf"
    subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, "hall", "geheim"], check=True, capture_output=True)
    user = "user root\n" if os.geteuid() == 0 else ""
    configuration.write_text(f"listener {port} 127.0.0.1\n{user}allow_anonymous false\npassword_file {passwords}\n")
    with subprocess.Popen([mosquitto(), "-c", configuration], stderr=subprocess.PIPE, text=True) as process:
        assert any(line.endswith("running\n") for line in process.stderr)
        yield f"hall@127.0.0.1:{port}"
        process.terminate()


def test_mistyped_password_is_asked_for_again(file, guarded_broker):
    address = ("MQTT broker [", f"{guarded_broker}\n".encode())
    steps = address, ("Password of hall", b"falsch\n"), address, ("Password of hall", b"geheim\n")
    told, code = answered(*steps, file=file, words=("--name", "hall", "--camera", "synthetic", "--accelerator", "cpu"))
    assert "refused the login (user 'hall')" in told
    assert code == 0, told
    assert load(file, {}).mqtt.username == "hall"


def test_password_that_is_tried_for_another_file_than_the_services_is_said_not_to_be_kept(file, guarded_broker, capsys, monkeypatch):
    password = file.with_name("hall.password")
    password.write_text("geheim\n")
    words = ["--camera", "synthetic", "--accelerator", "cpu", "--broker", guarded_broker]
    assert setup(file, *words, "--password-file", str(password)) == 0
    told = capsys.readouterr().out
    assert "the password is not kept: only the service has a place for it; give it to the node in EDGE_NODE_MQTT_PASSWORD\n" in told
    assert "geheim" not in told + file.read_text()
    monkeypatch.setenv("EDGE_NODE_MQTT_PASSWORD", "geheim")
    assert setup(file, *words) == 0
    assert "is not kept" not in capsys.readouterr().out


def test_end_of_the_input_is_told_and_nothing_is_changed(file):
    told, code = answered(("Name of this node", b"\x04"), file=file)
    assert code == 1
    assert told.endswith("the input ended before every question was answered\nnothing was changed\n")
    assert file.read_text() == SMALL


def test_system_file_needs_root(monkeypatch, capsys):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main(["setup", "--yes"]) == 2
    assert "sudo edge-node setup" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("clips/a.mp4", "{here}/clips/a.mp4"),
        ("~/a.mp4", "{here}/home/a.mp4"),
        ("/srv/a.mp4", "/srv/a.mp4"),
        ("/dev/video0", "/dev/video0"),
        ("2", 2),
        ("auto", "auto"),
        ("picamera2:1", "picamera2:1"),
        ("synthetic?people=2", "synthetic?people=2"),
        ("rtsp://hall:1/a.mp4", "rtsp://hall:1/a.mp4"),
    ],
)
def test_path_of_a_camera_is_written_whole_and_other_sources_as_they_are(text, value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert camera_value(text) == (value.format(here=tmp_path) if isinstance(value, str) else value)


def test_clip_given_from_another_folder_is_found_by_the_node(file, broker, shared, monkeypatch):
    monkeypatch.chdir(shared.clips)
    assert setup(file, "--camera", "squats.mp4", "--broker", broker) == 0
    assert load(file, {}).camera.source == str(shared.clips / "squats.mp4")


def test_relative_path_that_was_set_before_stays_as_it_is(file, broker, shared, monkeypatch):
    monkeypatch.chdir(shared.clips)
    file.write_text(SMALL.replace("camera:\n", "camera:\n  source: squats.mp4\n"))
    assert setup(file, "--name", "hall2", "--broker", broker) == 0
    assert load(file, {}).camera.source == "squats.mp4"


@pytest.mark.parametrize("keep", [(), ("--keep-failing",)])
def test_what_can_be_no_camera_is_a_mistake_of_the_configuration(file, capsys, keep):
    assert setup(file, "--camera", "ftp://hall", *keep) == 1
    assert "camera: camera.source: ftp://… is no stream" in capsys.readouterr().err
    assert file.read_text() == SMALL


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("broker.local", BrokerAddress("broker.local", 1883, None, False)),
        ("hall@10.0.0.2:1884", BrokerAddress("10.0.0.2", 1884, "hall", False)),
        ("mqtts://hall@broker.local", BrokerAddress("broker.local", 8883, "hall", True)),
        ("[fd00::1]:1883", BrokerAddress("fd00::1", 1883, None, False)),
        ("hall%40site%3A1@broker.local", BrokerAddress("broker.local", 1883, "hall@site:1", False)),
    ],
)
def test_brokers_address_is_read(text, address):
    assert parse_broker(text) == address


@pytest.mark.parametrize("username", ["hall", "hall@site", "site:hall", "site/hall", "100%40", " hall ", "Küche", "DOMAIN\\hall"])
def test_brokers_address_is_read_as_it_is_written_for_any_user(username):
    assert parse_broker(broker_text(override(Config(), {"mqtt.username": username}))).username == username


@pytest.mark.parametrize("text", ["", "a b", "http://broker", "host:port", "host:1883/topic"])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(ConfigError, match="expected HOST"):
        parse_broker(text)


def test_configuration_that_would_be_refused_is_not_put_in_place(tmp_path):
    file = tmp_path / "edge-node.yaml"
    file.write_text(SMALL)
    with pytest.raises(ConfigError):
        write_configuration(file, "camera: {widht: 3}\n")
    assert [p.name for p in tmp_path.iterdir()] == ["edge-node.yaml"]
    assert yaml.safe_load(file.read_text()) == yaml.safe_load(SMALL)


def test_configuration_on_a_read_only_file_system_is_told(tmp_path):
    code = "import sys; from pathlib import Path; from edge_node.setup.service import *\n"
    code += "try: write_configuration(Path(sys.argv[1]), '')\nexcept SetupError as error: print(error)"
    done = run_read_only(tmp_path, sys.executable, "-c", code, tmp_path / "edge-node.yaml")
    assert done.stdout == f"{tmp_path / 'edge-node.yaml'}: cannot be written: Read-only file system\n"


def test_password_is_for_root_alone(tmp_path):
    write_password("s3cret", tmp_path / "credstore" / "edge-node.mqtt-password")
    file = tmp_path / "credstore" / "edge-node.mqtt-password"
    assert file.read_text() == "s3cret"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_service_gets_its_files_and_not_what_it_links_to(tmp_path, monkeypatch):
    monkeypatch.setattr(service, "USER", "nobody")
    state, outside = tmp_path / "state", tmp_path / "outside"
    for folder in (state / "models", outside):
        folder.mkdir(parents=True)
        (folder / "file").touch()
    (state / "link").symlink_to(outside / "file")
    (state / "folder").symlink_to(outside)
    service.give_to_service(state)
    assert {path.owner() for path in (state, state / "models", state / "models" / "file")} == {"nobody"}
    assert {path.owner() for path in (outside, outside / "file")} == {"root"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_service_that_never_ran_gets_the_folder_of_its_models(tmp_path, monkeypatch):
    monkeypatch.setattr(service, "USER", "nobody")
    service.give_to_service(tmp_path / "state")
    assert (tmp_path / "state").owner() == "nobody"


def test_folder_that_cannot_be_given_to_the_service_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(service, "USER", "nobody")
    (tmp_path / "file").touch()
    with pytest.raises(service.SetupError, match="state: cannot be given to the user nobody: Not a directory"):
        service.give_to_service(tmp_path / "file" / "state")


@pytest.fixture
def systemctl(monkeypatch):
    """Stands for systemd: the state that the service is in, the verb that is refused, and what was ``asked``."""
    manager = SimpleNamespace(state="active", refused="", asked=[])

    def answer(*words):
        manager.asked.append(words[0])
        return subprocess.CompletedProcess(words, int(words[0] == manager.refused), f"{manager.state}\n", "refused")

    monkeypatch.setattr(service, "_systemctl", answer)
    monkeypatch.setattr(service, "service_is_installed", lambda: True)
    return manager


def test_running_service_lets_go_of_its_camera_and_goes_on_when_an_answer_fails(systemctl):
    with pytest.raises(ConfigError), service.stopped_meanwhile():
        raise ConfigError(["refused"])
    assert systemctl.asked == ["show", "stop", "start"]


@pytest.mark.parametrize("name", ["{folder}/edge-node.yaml", "edge-node.yaml"], ids=["absolute", "relative"])
def test_service_whose_camera_is_tried_goes_on_when_setup_cannot_enable_it(systemctl, file, broker, name, monkeypatch):
    monkeypatch.chdir(file.parent)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr("edge_node.commands.settings_arguments.SYSTEM_FILE", file)
    systemctl.refused = "enable"
    assert main(["setup", "-c", name.format(folder=file.parent), "--yes", "--camera", "synthetic", "--broker", broker]) == 1
    assert systemctl.asked == ["show", "stop", "enable", "start"]


def test_a_link_to_the_file_stays_a_link(file, broker):
    link = file.with_name("link.yaml")
    link.symlink_to(file)
    assert setup(link, "--camera", "synthetic", "--broker", broker, "--name", "hall") == 0
    assert link.is_symlink()
    assert load(file, {}).node.name == "hall"


def test_no_way_to_see_poses_over_mqtt_is_told_where_it_is_off(systemctl, file, monkeypatch, capsys):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr("edge_node.commands.settings_arguments.SYSTEM_FILE", file)
    monkeypatch.setattr(service, "start_service", lambda: {"frames": 1, "accelerator": "cpu"})
    file.write_text(f"{SMALL}mqtt:\n  enabled: false\n")
    assert main(["setup", "-c", str(file), "--yes", "--camera", "synthetic"]) == 0
    told = capsys.readouterr().out
    assert "edge-node status" in told
    assert "mosquitto_sub" not in told


def test_service_is_left_alone_by_the_setup_of_another_file(systemctl, file, broker, capsys):
    assert main(["setup", "-c", str(file), "--yes", "--camera", "synthetic", "--broker", broker]) == 0
    assert f"start it with: edge-node run -c {file}" in capsys.readouterr().out
    assert systemctl.asked == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_model_that_setup_fetches_for_the_service_belongs_to_it(systemctl, file, broker, shared, monkeypatch):
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr("edge_node.commands.settings_arguments.SYSTEM_FILE", file)
    monkeypatch.setattr(service, "start_service", lambda: {"frames": 1, "accelerator": "cpu"})
    monkeypatch.setattr(service, "USER", "nobody")
    monkeypatch.setattr(service, "STATE", file.parent / "state")
    file.write_text(REAL)
    words = ["--camera", "synthetic", "--broker", broker, "--accelerator", "cpu", "--models", str(shared.models)]
    assert main(["setup", "-c", str(file), "--yes", *words]) == 0
    state = service.STATE
    assert {path.owner() for path in (state, *state.rglob("*.tflite"), state / "models")} == {"nobody"}


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_service_goes_on_when_the_connection_of_whoever_sets_it_up_breaks(number):
    program = f"""
        import signal, subprocess
        from edge_node.setup import service
        def systemctl(*words):
            print(words[0], flush=True)
            return subprocess.CompletedProcess(words, 0, "active", "")
        signal.signal({int(number)}, signal.SIG_DFL)  # whoever runs the tests may have it ignored
        service._systemctl, service.service_is_installed = systemctl, lambda: True
        with service.stopped_meanwhile():
            signal.raise_signal({int(number)})
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["show", "stop", "start"]


def test_service_that_does_not_run_is_neither_stopped_nor_started_for_the_trials(systemctl):
    systemctl.state = "inactive"
    with service.stopped_meanwhile() as stopped:
        assert not stopped
    assert systemctl.asked == ["show"]


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The folders of an installed service, with a password."""
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.setattr(service, "STATE", tmp_path / "state")
    monkeypatch.setattr(service, "CREDENTIAL", tmp_path / "credstore" / "edge-node.mqtt-password")
    service.STATE.mkdir()
    write_password("a secret", service.CREDENTIAL)
    monkeypatch.setattr(os, "environ", dict(os.environ))


def test_password_given_before_is_used_when_setup_is_run_again(installed):
    assert paths.secret("mqtt-password") is None
    service.use_secrets_of_service()
    assert paths.secret("mqtt-password") == "a secret"


def test_root_looks_where_the_service_looks(installed):
    assert service.look_where_service_looks()
    assert paths.models_directory(None) == service.STATE / "models"
    assert paths.secret("mqtt-password") == "a secret"


def test_root_looks_where_the_service_will_look_once_it_has_started(installed, monkeypatch):
    service.STATE.rmdir()
    monkeypatch.setattr(service, "USER", "nobody")
    assert service.look_where_service_looks()
    assert paths.models_directory(None) == service.STATE / "models"


def test_others_are_told_that_they_do_not_see_what_the_service_sees(installed, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert not service.look_where_service_looks()
    assert paths.secret("mqtt-password") is None
