"""What setup leaves behind: the configuration file, the password where only systemd reads it, and the running service."""

import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from edge_node import paths
from edge_node.config.load import load
from edge_node.errors import EdgeNodeError
from edge_node.filesystem import remove_scratch
from edge_node.status_socket import SERVICE_SOCKET, NoAnswerError, ask

UNIT = "edge-node.service"
USER = "edge-node"
STATE = Path("/var/lib/edge-node")
CREDENTIAL = Path("/etc/credstore/edge-node.mqtt-password")
FIRST_FRAME_S = 120.0


class SetupError(EdgeNodeError):
    """Something could not be set up; what was there before is still so."""


def write_configuration(path: Path, text: str) -> Path | None:
    """Put ``text`` in place of ``path``, whole or not at all; returns where the file before it went.

    Raises ``ConfigError`` when the text would not be accepted, ``SetupError`` when it cannot be written.
    """
    scratch = path.with_name(f".{path.name}.new")
    before = path.with_name(f"{path.name}.old")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch.write_text(text, encoding="utf-8")
        scratch.chmod(0o644)
        load(scratch, {})
        kept = path.exists() and path.read_text(encoding="utf-8") != text
        if kept:
            shutil.copy2(path, before)
        scratch.replace(path)
    except OSError as error:
        advice = "; as root: sudo edge-node setup" if isinstance(error, PermissionError) else ""
        raise SetupError(f"{path}: cannot be written: {error.strerror}{advice}") from None
    finally:
        remove_scratch(scratch)
    return before if kept else None


def write_password(password: str, path: Path = CREDENTIAL) -> None:
    """Where systemd takes it from for the service; readable by root alone. Raises ``SetupError``."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        scratch = path.with_name(f".{path.name}.new")
        with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(password)
        scratch.replace(path)
    except OSError as error:
        raise SetupError(f"{path}: cannot be written: {error.strerror}") from None


def use_secrets_of_service() -> None:
    """Passwords are then those that systemd would hand the service; only root can read them."""
    os.environ.setdefault(paths.CREDENTIALS_UNDER_SYSTEMD, str(CREDENTIAL.parent))


def look_where_service_looks() -> bool:
    """Models and passwords are then those of the service. ``False``, and nothing is changed, where only root may see them."""
    if paths.STATE_UNDER_SYSTEMD in os.environ or not (STATE.is_dir() or _user()):
        return True
    if not all(os.access(folder, os.R_OK | os.X_OK) for folder in (STATE, CREDENTIAL.parent) if folder.exists()):
        return False
    os.environ[paths.STATE_UNDER_SYSTEMD] = str(STATE)
    use_secrets_of_service()
    return True


def give_to_service(path: Path) -> None:
    """Let the service's user own the folder ``path``, made if need be, and what is in it, where there is that user.

    That user may have put links there: what they point to is left alone. Raises ``SetupError``.
    """
    user = _user()
    if user is None:
        return
    try:
        path.mkdir(parents=True, exist_ok=True)
        _give(path, user)
    except OSError as error:
        raise SetupError(f"{path}: cannot be given to the user {USER}: {error.strerror}") from None


def _give(path: Path, user: pwd.struct_passwd) -> None:
    for _, _, files, folder in os.fwalk(path):
        os.chown(folder, user.pw_uid, user.pw_gid)
        for name in files:
            os.chown(name, user.pw_uid, user.pw_gid, dir_fd=folder, follow_symlinks=False)


def _user() -> pwd.struct_passwd | None:
    """The service's own user, who is there from the installation on; its folder only from the first start."""
    try:
        return pwd.getpwnam(USER)
    except KeyError:
        return None


def may_open(device: Path) -> bool:
    """Whether the service's user may read and write the device file ``device``; also where one of the two is not there."""
    user = _user()
    if user is None:
        return True
    try:
        status = device.stat()
    except FileNotFoundError:  # unplugged since it was found
        return True
    if status.st_uid == user.pw_uid:
        bits = status.st_mode >> 6
    else:
        bits = status.st_mode >> 3 if status.st_gid in os.getgrouplist(USER, user.pw_gid) else status.st_mode
    return bits & 0o6 == 0o6


def service_is_installed() -> bool:
    """Whether systemd runs this machine and knows the unit."""
    return Path("/run/systemd/system").is_dir() and _systemctl("cat", UNIT).returncode == 0


@contextmanager
def stopped_meanwhile() -> Iterator[bool]:
    """A running service lets go of its camera and accelerator, so that they can be tried; it goes on when the block fails, or is
    ended by Ctrl-C or by the end of the terminal.

    Gives whether there was one.
    """
    runs = service_is_installed() and _systemctl("show", "-P", "ActiveState", UNIT).stdout.strip() not in ("inactive", "failed")
    with _signals_unwind(), ExitStack() as on_failure:
        if runs:
            on_failure.callback(_systemctl, "start", "--no-block", UNIT)
            _systemctl("stop", UNIT)
        yield runs
        on_failure.pop_all()


@contextmanager
def _signals_unwind() -> Iterator[None]:
    """SIGHUP (an ssh connection that broke) and SIGTERM come out as ``KeyboardInterrupt``; by default nothing would be put right."""
    ending = [number for number in (signal.SIGHUP, signal.SIGTERM) if signal.getsignal(number) is signal.SIG_DFL]
    for number in ending:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in ending:
            signal.signal(number, signal.SIG_DFL)


def start_service() -> dict[str, object]:
    """Enable the service and start it anew; returns its status after the first frame. Raises ``SetupError``."""
    for words in (("enable", "--quiet", UNIT), ("restart", UNIT)):
        done = _systemctl(*words)
        if done.returncode:
            raise SetupError(f"systemctl {' '.join(words)}: {done.stderr.strip()}\nwhat it said: journalctl -u edge-node -n 20")
    deadline = time.monotonic() + FIRST_FRAME_S
    status: dict[str, object] | None = None
    while time.monotonic() < deadline:
        try:
            status = ask(SERVICE_SOCKET)
        except NoAnswerError:
            status = None
        if status is not None and status.get("frames"):
            return status
        time.sleep(0.5)
    raise SetupError(f"the service runs, and looked at no picture in {FIRST_FRAME_S:.0f} s: journalctl -u edge-node -n 20")


def _systemctl(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["systemctl", *words], capture_output=True, text=True, check=False)
