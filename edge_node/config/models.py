"""The settings of a node: their names, types, ranges, defaults and meaning, once and for everything.

``config/edge-node.yaml`` and its JSON Schema are made from these models by ``files``; ``keys`` lists them flat, by path
(``camera.width``); ``load`` reads the YAML file, with line and column for every mistake.

A key marked ``live`` takes effect on the next frame; every other key needs a restart of the node.
"""

import ipaddress
import re
import socket
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from edge_node.errors import ConfigError, SourceUnusableError

NODE_NAME_PATTERN = r"^[A-Za-z0-9_-]{1,64}$"
MqttText = Annotated[str, StringConstraints(max_length=16_383)]
"""Text in a packet of MQTT: at most 65,535 bytes as UTF-8."""
AlpnName = Annotated[str, StringConstraints(pattern=r"^[ -~]{1,255}$")]


def live(default: Any, description: str, **constraints: Any) -> Any:
    """A key that can be tuned while the node runs."""
    return Field(default, description=description, json_schema_extra={"live": True}, **constraints)


def _host_name() -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname().split(".")[0])[:64] or "edge-node"


class Section(BaseModel):
    """A part of the configuration. Unknown keys are refused, values are never converted from another type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @field_validator("*")
    @classmethod
    def _without_nul(cls, value: Any) -> Any:
        if any(isinstance(text, str) and "\0" in text for text in (value if isinstance(value, list) else (value,))):
            raise ValueError("no text may have the character NUL in it")
        return value


def _of_a_certificate(value: str | None, info: ValidationInfo) -> str | None:
    if value is not None and info.data.get("certificate_file", "") is None:  # left out of the data where it is wrong itself
        raise ValueError("there is no certificate_file for this key")
    return value


KeyFile = Annotated[str | None, AfterValidator(_of_a_certificate)]
"""Of a section that has a ``certificate_file`` before it."""


class Node(Section):
    """Who this node is."""

    name: Annotated[str, StringConstraints(pattern=NODE_NAME_PATTERN)] = Field(
        default_factory=_host_name,
        description="Name of this node in topics and in Home Assistant: letters, digits, _ and -. Default: the host name.",
    )


class Camera(Section):
    """Where frames come from."""

    source: str | int = Field(
        "auto",
        description="picamera2, /dev/video0 or an index, an rtsp:// or http:// URL, a video file, a folder of images, synthetic, "
        "or auto (the Pi camera, else the first USB camera). User name and password of a URL: EDGE_NODE_CAMERA_USERNAME and _PASSWORD.",
    )
    width: int = Field(640, ge=64, le=7680, description="Width asked of a camera, in pixels. Files keep their own.")
    height: int = Field(480, ge=64, le=4320, description="Height asked of a camera, in pixels.")
    fps: float = Field(30.0, ge=0.001, le=240, description="Frames per second asked of a camera, and the rate of the synthetic scene.")
    hflip: bool = Field(False, description="Mirror the picture left to right before the model sees it (left and right joints swap).")
    vflip: bool = Field(False, description="Turn the picture upside down, for a camera that hangs (with hflip: 180 degrees).")
    realtime: bool = Field(False, description="Play a file at its own rate and skip what is late, instead of using every frame.")
    loop: bool = Field(False, description="Start a file or folder again at its end.")
    stall_s: float = Field(5.0, ge=0.5, le=120, description="A live source without a frame for so many seconds is opened again.")

    @property
    def longest_gap_s(self) -> float:
        """So long may pass between two frames before a source counts as stalled: at a low rate the time of three."""
        return max(self.stall_s, 3 / self.fps)

    @field_validator("source", mode="before")
    @classmethod
    def _is_text_or_number(cls, value: Any) -> Any:
        # Else pydantic would tell it twice, once for each type; and Python refuses to make text of the largest numbers.
        if type(value) not in (str, int) or (type(value) is int and value.bit_length() > 1024):
            raise PydanticCustomError("source_type", "should be text or a whole number")
        return value

    @field_validator("source")
    @classmethod
    def _names_a_source(cls, value: str | int) -> str | int:
        from edge_node.camera.source import parse_source  # noqa: PLC0415 - only a source that is given has to be understood

        try:
            parse_source(value)
        except (SourceUnusableError, ConfigError) as error:
            raise ValueError(str(error).removeprefix("camera.source: ")) from error
        return value


class Model(Section):
    """Which model runs, and on what."""

    name: str = Field(
        "movenet-lightning",
        description="A name of models/manifest.yaml (see: edge-node models list), or the path of a .tflite file.",
    )
    directory: str | None = Field(
        None,
        min_length=1,
        description="Folder of the model files. Default: the state directory's models/, or ~/.cache/edge-node/models.",
    )
    accelerator: Literal["auto", "edgetpu", "cpu"] = Field(
        "auto", description="auto: the Edge TPU while it works, else the CPU. edgetpu: the same, but its absence is a fault. cpu: never it."
    )
    require_edgetpu: bool = Field(
        False, description="Without a working Edge TPU at the start end with exit code 1, instead of running on the CPU."
    )
    device: str = Field(
        "", pattern=r"^(|(usb|pci)?(:[0-9]{1,3})?)$", description="Which Edge TPU: usb, pci, usb:0, pci:1, :0; empty for the first."
    )
    edgetpu_options: dict[str, str] = Field(
        default_factory=dict,
        description="Options handed to libedgetpu, such as Performance: High. The first device stands in where no index is given.",
    )
    runtime: Literal["auto", "litert", "tflite-runtime", "pycoral"] = Field(
        "auto", description="Which TensorFlow Lite runs the model. auto: the first that is installed, in this order."
    )
    threads: int = Field(0, ge=0, le=64, description="Threads of the CPU engine; 0 chooses by measurement at start-up.")
    heads: Literal["auto", "stock"] = Field(
        "auto", description="auto: cut a recognised MoveNet at its heads and see everyone. stock: the model's own output."
    )

    @field_validator("require_edgetpu")
    @classmethod
    def _goes_with_the_accelerator(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("accelerator") == "cpu":
            raise ValueError("should be false where model.accelerator is cpu")
        return value

    @field_validator("edgetpu_options")
    @classmethod
    def _leaves_the_device_to_its_own_key(cls, value: dict[str, str]) -> dict[str, str]:
        if "device" in value:
            raise ValueError("should leave device to model.device")
        return value

    @property
    def expects_edgetpu(self) -> bool:
        """Whether the absence of an Edge TPU is a fault."""
        return self.accelerator == "edgetpu" or self.require_edgetpu


class PoseSettings(Section):
    """What is looked for in a frame."""

    max_people: int = live(6, "How many people are followed at most. 1 locks on one person and costs one inference a frame.", ge=1, le=32)
    score_threshold: float = live(0.2, "A keypoint whose score is below this does not count, 0..1.", ge=0, le=1)
    max_inferences: int = live(
        0, "Inferences a frame at most; 0 derives it from the frame interval and the measured time of one.", ge=0, le=64
    )
    nms: Literal["oks", "parametric"] = live(
        "oks",
        "How several finds of one person become one. oks: by likeness of all joints. parametric: by the count of sure joints that meet.",
    )
    idle_fps: float = live(0.0, "Frames looked at a second while nobody is in view; 0 looks at every frame.", ge=0, le=240)
    latency_target_ms: float = live(
        0.0, "Keep capture to pose below this by using fewer inferences a frame; 0 uses the frame interval.", ge=0, le=10_000
    )
    max_soc_temperature_c: float = live(
        78.0, "Slow down when the processor is hotter than this, before it throttles itself; 0 never does.", ge=0, le=120
    )


class Smoothing(Section):
    """How joints are steadied: a One-Euro filter on each joint that moves along with the body, driven by capture time."""

    enabled: bool = live(True, "Smooth keypoints over time.")
    time_constant_ms: float = live(
        40.0, "How long the past counts at rest, in milliseconds: more is steadier, less follows limbs sooner.", gt=0, le=2000
    )
    reset_after_s: float = live(0.5, "A gap longer than this starts the filter afresh.", gt=0, le=60)


class MqttTls(Section):
    """Encryption to the broker."""

    enabled: bool = Field(False, description="Encrypt the connection. The broker's certificate is always verified.")
    ca_file: str | None = Field(None, min_length=1, description="Certificate authority, PEM. Default: the system's.")
    certificate_file: str | None = Field(None, min_length=1, description="This node's own certificate, PEM, for brokers that ask for one.")
    key_file: KeyFile = Field(None, min_length=1, description="Private key of that certificate, PEM.")
    alpn: list[AlpnName] = Field(default_factory=list, max_length=32, description="ALPN protocols, such as [mqtt] for brokers on port 443.")


class MqttSpool(Section):
    """What keeps state changes and events while no broker is there."""

    enabled: bool = Field(True, description="Keep undelivered events in the state directory, over restarts and power cuts.")
    max_bytes: int = Field(16_777_216, ge=65_536, description="Size limit on disk; the oldest go first.")
    max_age_s: float = Field(604_800.0, gt=0, description="Age limit in seconds; older ones are not delivered any more.")


def _host_alone(value: str) -> str:
    if re.search(r"[\s/:@\[\]]", value):
        try:
            ipaddress.ip_address(value)
        except ValueError:
            hint = "a port goes into port, a user name into mqtt.username, mqtts:// is mqtt.tls.enabled"
            raise ValueError(f"should be a host name or address and nothing else, such as broker.local; {hint}") from None
    return value


BrokerHost = Annotated[str, AfterValidator(_host_alone)]
"""Not ``mqtt://host`` or ``host:1883``, as other programs want it: these would be looked up as a name."""


class Broker(Section):
    """One broker of a list."""

    host: BrokerHost = Field(min_length=1, description="Host name or address.")
    port: int = Field(1883, ge=1, le=65_535, description="TCP port.")


class Mqtt(Section):
    """The broker, and what is sent there. The password: systemd credential edge-node.mqtt-password, or EDGE_NODE_MQTT_PASSWORD."""

    enabled: bool = Field(True, description="Publish over MQTT.")
    host: BrokerHost = Field("localhost", min_length=1, description="Broker's host name or address.")
    port: int = Field(1883, ge=1, le=65_535, description="Broker's TCP port; 8883 is usual with TLS.")
    fallback_brokers: list[Broker] = Field(default_factory=list, description="Brokers tried in turn when the first is away.")
    username: MqttText | None = Field(None, description="User name at the broker.")
    client_id: MqttText | None = Field(None, description="MQTT client id. Default: edge_node-<node.name>.")
    protocol: Literal["auto", "5", "3.1.1"] = Field(
        "auto", description="MQTT version. auto: 5, and 3.1.1 where the broker knows nothing else."
    )
    keepalive_s: int = Field(15, ge=5, le=3600, description="A connection silent for so long is checked, in seconds.")
    qos: Literal[0, 1] = Field(0, description="Quality of service of pose messages. State and events always use 1.")
    format: Literal["flat", "named"] = live("flat", "Keypoints as 51 numbers (flat) or as objects with names (named).")
    pose: bool = live(True, "Publish pose messages at all; state, events and health go on without them.")
    max_rate_hz: float = live(0.0, "Pose messages a second at most; 0 publishes every frame.", ge=0, le=240)
    on_change: bool = live(False, "Publish a pose only when somebody moved, came or left.")
    empty_rate_hz: float = live(0.0, "Messages a second at most while nobody is in view; 0 publishes every frame.", ge=0, le=240)
    expiry_s: int = Field(5, ge=1, le=3600, description="A pose message not delivered after this is thrown away by the broker (MQTT 5).")
    health_interval_s: float = Field(30.0, ge=1, le=3600, description="Seconds between health messages.")
    allow_commands: bool = Field(True, description="Accept set/ and cmd/ messages for the keys that may be tuned.")
    tls: MqttTls = Field(default_factory=MqttTls, description="Encryption to the broker.")
    spool: MqttSpool = Field(default_factory=MqttSpool, description="Keeps events while no broker is there.")

    @field_validator("protocol", mode="before")
    @classmethod
    def _five_is_a_number_to_yaml(cls, value: Any) -> Any:
        return "5" if type(value) is int and value == 5 else value


class HomeAssistant(Section):
    """Discovery by Home Assistant, over the same broker."""

    enabled: bool = Field(False, description="Announce this node to Home Assistant.")
    prefix: str = Field("homeassistant", pattern=r"^[^#+\x00-\x1f\x7f]{1,256}$", description="Home Assistant's discovery prefix.")


class Zone(Section):
    """A named part of the picture."""

    name: Annotated[str, StringConstraints(pattern=NODE_NAME_PATTERN)] = Field(description="Name: letters, digits, _ and -.")
    polygon: list[tuple[float, float]] = Field(
        min_length=3, max_length=64, description="Corners as [x, y], 0..1 of the frame, from the top left."
    )

    @field_validator("polygon", mode="before")
    @classmethod
    def _as_points(cls, value: Any) -> Any:
        if isinstance(value, list):
            return [tuple(p) if isinstance(p, list) else p for p in value]
        return value

    @field_validator("polygon")
    @classmethod
    def _inside_the_frame(cls, value: list[tuple[float, float]]) -> list[tuple[float, float]]:
        if any(not 0 <= c <= 1 for p in value for c in p):
            raise ValueError("every coordinate must be between 0 and 1")
        return value


class State(Section):
    """What is said about the scene beyond joints: presence, posture, zones, a suspected fall."""

    enabled: bool = live(True, "Publish state and events.")
    presence_on_s: float = live(0.3, "Somebody must be seen for so long before they count as present.", ge=0, le=60)
    presence_off_s: float = live(2.0, "Nobody must be seen for so long before the scene counts as empty.", ge=0, le=3600)
    fall_sensitivity: float = live(0.5, "How readily a suspected fall is reported, 0..1; 0 never reports one.", ge=0, le=1)
    zones: list[Zone] = live([], "Polygons whose entering and leaving is reported.", max_length=32)

    @field_validator("zones")
    @classmethod
    def _each_with_its_own_name(cls, value: list[Zone]) -> list[Zone]:
        names = [zone.name for zone in value]
        again = sorted({name for name in names if names.count(name) > 1})
        if again:
            raise ValueError(f"two zones have the name {again[0]}")
        return value


class Record(Section):
    """Poses to a file."""

    path: str | None = Field(
        None, min_length=1, description='Write every frame\'s pose message as a JSON line to this file; "-" is standard output.'
    )
    max_bytes: int = Field(0, ge=0, description="Start a new file beyond this size; 0 never does.")
    keep: int = Field(5, ge=1, le=1000, description="How many older files are kept.")
    max_age_s: float = Field(0.0, ge=0, description="Start a new file after so many seconds; 0 never does.")


class Web(Section):
    """The live page."""

    enabled: bool = Field(False, description="Serve the live page.")
    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on. Beyond this machine a token is needed.")
    port: int = Field(8470, ge=0, le=65_535, description="TCP port; 0 takes a free one and says which in the log.")
    show_image: bool = Field(False, description="Let viewers see the camera picture. It is encoded only while somebody watches.")
    allow_tuning: bool = Field(True, description="Let viewers change the tunable keys.")
    max_viewers: int = Field(32, ge=1, le=1000, description="Viewers at a time.")
    certificate_file: str | None = Field(None, min_length=1, description="TLS certificate, PEM; without one the page is served in clear.")
    key_file: KeyFile = Field(None, min_length=1, description="Private key of that certificate, PEM.")
    allowed_hosts: list[str] = Field(default_factory=list, description="Further host names under which the page may be asked for.")


class Log(Section):
    """What is said to the journal or the terminal."""

    level: Literal["debug", "info", "warning", "error"] = live("info", "The least severe messages shown.")
    format: Literal["auto", "text", "journal", "json"] = Field(
        "auto", description="auto: priorities for the journal under systemd, else text."
    )


class Config(Section):
    """Everything that can be set. Each section has its own model above."""

    node: Node = Field(default_factory=Node, description="Who this node is.")
    camera: Camera = Field(default_factory=Camera, description="Where frames come from.")
    model: Model = Field(default_factory=Model, description="Which model runs, and on what.")
    pose: PoseSettings = Field(default_factory=PoseSettings, description="What is looked for in a frame.")
    smoothing: Smoothing = Field(default_factory=Smoothing, description="How joints are steadied.")
    mqtt: Mqtt = Field(default_factory=Mqtt, description="The broker, and what is sent there.")
    homeassistant: HomeAssistant = Field(default_factory=HomeAssistant, description="Discovery by Home Assistant.")
    state: State = Field(default_factory=State, description="What is said about the scene beyond joints.")
    record: Record = Field(default_factory=Record, description="Poses to a file.")
    web: Web = Field(default_factory=Web, description="The live page.")
    log: Log = Field(default_factory=Log, description="What is said to the journal or the terminal.")
