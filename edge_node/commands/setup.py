"""``edge-node setup``: from nothing to a running node. Asks what was not given, tries each answer, writes the configuration."""

import argparse
import getpass
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from edge_node import paths
from edge_node.commands.settings_arguments import SYSTEM_FILE, is_of_service
from edge_node.config.load import load, override
from edge_node.config.models import Config, Mqtt
from edge_node.data import Frame
from edge_node.errors import EXIT_OK, CameraError, ConfigError, EdgeNodeError, UsageError
from edge_node.fetch import advice, fetch, mirror_folder
from edge_node.filesystem import exists
from edge_node.log import harmless
from edge_node.models import MARKER, entry, is_path
from edge_node.setup import answers, service

MODEL_ADVICE = advice(mirror="--models", folder="model.directory in the configuration")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""
    parser.add_argument("--name", help="name of this node: letters, digits, _ and -")
    parser.add_argument("--camera", metavar="SOURCE", help="picamera2, /dev/video0, an rtsp:// address, a video file, synthetic, auto")
    parser.add_argument("--broker", metavar="[USER@]HOST[:PORT]", help="MQTT broker; mqtts://HOST for an encrypted connection")
    parser.add_argument(
        "--password-file", type=Path, metavar="FILE", help="the password at the broker is in this file (- is standard input)"
    )
    parser.add_argument("--accelerator", choices=["auto", "edgetpu", "cpu"], help="what runs the model")
    parser.add_argument("--models", type=Path, metavar="DIR", help="take the model files from this folder, not from the network")
    parser.add_argument("--yes", action="store_true", help="ask nothing: what was not given stays as it is")
    parser.add_argument(
        "--keep-failing", action="store_true", help="write answers down that do not work now, such as a broker still to come"
    )
    parser.add_argument("-c", "--config", type=Path, default=SYSTEM_FILE, metavar="FILE", help=f"file to write (default: {SYSTEM_FILE})")
    parser.add_argument("--no-service", action="store_true", help="only write the configuration; start nothing (as with another FILE)")
    parser.epilog = "Running it again keeps what was set before, and the file before it as FILE.old."


def run(arguments: argparse.Namespace) -> int:
    """Set up, and start what was set up."""
    arguments.config = Path(os.path.realpath(arguments.config))  # a link to the file stays one
    if is_of_service(arguments.config) and os.geteuid() != 0:
        raise UsageError(f"{SYSTEM_FILE} belongs to root: sudo edge-node setup (or write another file: -c FILE)")
    present, password = _present(arguments.config), _given_password(arguments.password_file)
    if is_of_service(arguments.config):
        service.use_secrets_of_service()
    with service.stopped_meanwhile() if _is_for_the_service(arguments) else nullcontext(False) as stopped:
        if stopped:
            print("edge-node is stopped while its camera and accelerator are tried")
        config = _ask_try_write(arguments, present, password)
        if not _is_for_the_service(arguments):
            print(f"start it with: edge-node run -c {arguments.config}")
            return EXIT_OK
        status = service.start_service()
    _tell_how_to_look(config, status)
    return EXIT_OK


def _tell_how_to_look(config: Config, status: Mapping[str, object]) -> None:
    print(f"edge-node is enabled and running: {status['frames']} frames so far, on the {status['accelerator']}")
    print("  how it is:   edge-node status\n  its log:     journalctl -u edge-node -f")
    if config.mqtt.enabled:
        print(f"  its poses:   mosquitto_sub -h {config.mqtt.host} -p {config.mqtt.port} -t 'edge_node/v1/{config.node.name}/#' -v")


def _is_for_the_service(arguments: argparse.Namespace) -> bool:
    """Whether the file is the one that the service reads, and the service is to run by it."""
    return is_of_service(arguments.config) and not arguments.no_service and service.service_is_installed()


def _ask_try_write(arguments: argparse.Namespace, present: Config, given_password: str | None) -> Config:
    """Ask, try, write."""
    try:
        config, password = _Dialogue(arguments, present, given_password).hold()
    except EOFError:
        raise service.SetupError("the input ended before every question was answered\nnothing was changed") from None
    before = service.write_configuration(arguments.config, answers.configuration_text(config))
    print(f"wrote {arguments.config}{f'; the one before is {before}' if before else ''}")
    if password is not None:
        _keep_password(password, arguments.config)
    return config


def _keep_password(password: str, file: Path) -> None:
    if is_of_service(file):
        service.write_password(password)
        print(f"wrote {service.CREDENTIAL}, for systemd's eyes only")
    else:
        print("the password is not kept: only the service has a place for it; give it to the node in EDGE_NODE_MQTT_PASSWORD")


def _present(path: Path) -> Config:
    """What the file says now; the defaults when there is none."""
    return load(path if exists(path, lambda why: ConfigError([why])) else None, {})


def _given_password(file: Path | None) -> str | None:
    """What ``--password-file`` holds."""
    if file is None:
        return None
    try:
        content = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise UsageError(f"--password-file {file}: {error.strerror}") from None
    return paths.secret_text(content, f"--password-file {file}")


class _Dialogue:
    """One question after the other, each tried before the next."""

    def __init__(self, arguments: argparse.Namespace, config: Config, given_password: str | None) -> None:
        self._arguments = arguments
        self._before = config
        self._config = config
        self._given_password = given_password
        self._asks = sys.stdin.isatty() and not arguments.yes
        self._password: str | None = None
        self._frame: Frame | None = None

    def hold(self) -> tuple[Config, str | None]:
        """The configuration with the answers in it, and the password at the broker if one was given."""
        self._settle("name", "Name of this node", self._config.node.name, self._name)
        self._settle("camera", "Camera", str(self._config.camera.source), self._camera)
        self._settle("accelerator", "Run the model on (auto, edgetpu, cpu)", self._config.model.accelerator, self._accelerator)
        self._settle("broker", "MQTT broker", answers.broker_text(self._config), self._broker)
        return self._config, self._password

    def _settle(self, name: str, question: str, present: str, take: Callable[[str], str]) -> None:
        """Get one answer and try it, again and again where somebody is there to answer."""
        given: str | None = getattr(self._arguments, name)
        while True:
            answer = given if given is not None else self._ask(question, present)
            try:
                print(harmless(f"{name}: {answer}: {take(answer)}"))
                return
            except EdgeNodeError as error:
                if self._arguments.keep_failing and not isinstance(error, ConfigError):
                    print(f"{name}: {answer}: does not work now, kept as asked: {error}", file=sys.stderr)
                    return
                if given is not None or not self._asks:
                    raise service.SetupError(f"{name}: {error}\nnothing was changed") from None
                print(f"  {error}", file=sys.stderr)

    def _ask(self, question: str, present: str) -> str:
        if not self._asks:
            return present
        return input(f"{question} [{present}]: ").strip() or present

    def _stays(self, name: str, answer: str, present: str) -> bool:
        """Whether nobody gave another answer: then nothing is made out of its text anew."""
        return getattr(self._arguments, name) is None and answer == present

    def _put(self, **sections: Any) -> None:
        self._config = override(self._config, {key.replace("__", "."): value for key, value in sections.items()})

    def _name(self, answer: str) -> str:
        self._put(node__name=answer)
        return f"its topics are edge_node/v1/{answer}/…"

    def _camera(self, answer: str) -> str:
        from edge_node.setup.trials import try_camera  # noqa: PLC0415 - heavy; a wrong name is told before it

        present = self._before.camera.source
        self._put(camera__source=present if self._stays("camera", answer, str(present)) else answers.camera_value(answer))
        found, self._frame = try_camera(self._config.camera)
        return found

    def _accelerator(self, answer: str) -> str:
        from edge_node.setup.trials import try_model  # noqa: PLC0415 - heavy

        if answer == "cpu":
            self._put(model__require_edgetpu=False)
        self._put(model__accelerator=answer)
        folder = self._fetch_model()
        if self._frame is None:
            raise CameraError("the model can only be tried on a picture, and the camera gave none")
        return try_model(override(self._config, {"model.directory": str(folder)}), self._frame)

    def _fetch_model(self) -> Path:
        """The model's files, where the node will look for them."""
        configured = self._config.model.directory
        of_service = is_of_service(self._arguments.config) and configured is None
        folder = service.STATE / "models" if of_service else paths.models_directory(configured)
        name = self._config.model.name
        if name == MARKER or is_path(name):
            return folder
        if of_service:
            service.give_to_service(service.STATE)  # what is fetched into it then belongs to its owner
        known = entry(name)
        for accelerator in known.files:
            if self._config.model.accelerator != "cpu" or accelerator == "cpu":
                fetch(known.files[accelerator], folder, mirror_folder(self._arguments.models), lambda *_: None, MODEL_ADVICE)
        return folder

    def _broker(self, answer: str) -> str:
        from edge_node.setup.trials import try_broker  # noqa: PLC0415 - heavy

        stays = self._stays("broker", answer, answers.broker_text(self._before))
        values = {"mqtt": self._before.mqtt.model_dump()} if stays else answers.broker_values(answers.parse_broker(answer))
        self._config = override(self._config, values)
        self._password = self._read_password(self._config.mqtt)
        if not self._config.mqtt.enabled:
            return "stays so, nothing is published over MQTT"
        # A fallback that takes the login says nothing about the broker that was just given.
        tried = self._config if stays else override(self._config, {"mqtt.fallback_brokers": []})
        return try_broker(tried, self._password or paths.secret("mqtt-password"))

    def _read_password(self, mqtt: Mqtt) -> str | None:
        """From the file given, else asked for where somebody can answer. ``None`` leaves the one there is."""
        if self._given_password is not None and mqtt.username is None:
            raise ConfigError(["--password-file goes with a user name; give it in the address: USER@HOST"])
        if self._given_password is not None or mqtt.username is None or not (self._asks and mqtt.enabled):
            return self._given_password
        return getpass.getpass(f"Password of {mqtt.username} at {mqtt.host} (empty: none, or the one set before): ") or None
