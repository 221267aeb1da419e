"""The benchmark runs on the real parts and says what it promises; the guard tells a fall from noise."""

import csv
import importlib.machinery
import importlib.util
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from edge_node.bench.process import Usage, machine
from edge_node.bench.result import _model
from edge_node.cli import main
from edge_node.commands.bench import COLUMNS, append_row, described, read_rows
from edge_node.config.models import Model
from edge_node.errors import UsageError
from edge_node.local_broker import mosquitto

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.timeout(400)  # it starts a broker, a subscriber and a node: on a busy machine that takes its time


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """One short run on the drawn scene with the built-in model, through a real broker where there is one."""
    output = tmp_path_factory.mktemp("bench")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(output))
        patch.setenv("XDG_CACHE_HOME", str(output))
        lines: list[str] = []
        patch.setattr("builtins.print", lambda text="", **_: lines.append(str(text)))
        # Of the user's settings these two would leave the benchmark without a pose, or the node it starts without a broker.
        patch.setenv("EDGE_NODE__MQTT__POSE", "false")
        patch.setenv("EDGE_NODE__MQTT__HOST", "broker.invalid")
        words = ["bench", "--source", "synthetic", "--people", "1", "--runs", "1", "--frames", "50", "--json", "--row", str(output)]
        code = main([*words, "--set", "model.name=marker", "--set", "model.threads=1", "--set", "camera.fps=120"])
    assert code == 0
    return json.loads(lines[-1]), output


def test_the_result_has_every_promised_key(result):
    measured, _ = result
    promised = ["fps", "bare_invoke_fps", "ratio", "stages", "end_to_end_ms", "rss_mb", "startup_s", "runtime", "threads", "people"]
    assert set(promised) <= set(measured)
    assert {"capture", "sample", "invoke", "decode", "track", "smooth", "publish"} <= set(measured["stages"])
    assert measured["threads"] == 1
    assert measured["people"] == 1
    assert len(measured["runs"]) == 1
    assert measured["source"].startswith("synthetic")


def test_figures_hang_together(result):
    measured, _ = result
    assert measured["ratio"] == pytest.approx(measured["fps"] / measured["bare_invoke_fps"], rel=0.2)
    assert 0 < measured["stages"]["invoke"]["p50"] <= measured["end_to_end_ms"]["p50"]
    assert measured["frames"] == 50
    assert 20 < measured["rss_mb"] < 1000
    assert measured["cpu_ms_per_frame"] > 0
    assert measured["beyond_bare_ms"]["p50"] < measured["end_to_end_ms"]["p50"]


def test_a_live_source_is_measured_at_its_own_rate(result):
    measured, _ = result
    assert measured["fps"] < 130  # the camera's 120


def test_the_text_says_what_each_thread_used_and_how_many_threads_run_the_model(result):
    measured, _ = result
    text = described({**measured, "cpu_ms_by_thread": {"MainThread": 3.5, "sink-mqtt": 0.4}})
    assert "by thread: MainThread 3.5, sink-mqtt 0.4\n" in text
    assert ", 1 thread for one square, cpu\n" in text
    assert ", 2 threads for one square, cpu\n" in described({**measured, "threads": 2})


def test_threads_beside_the_model_are_taken_out_of_what_it_used():
    used = Usage(3.0, {"MainThread": 1.5, "libraries": 0.5, "camera-reader": 0.7, "sink-mqtt": 0.2}, 5)
    model = used.less(("camera", "sink-"))
    assert model.by_thread_s == {"MainThread": 1.5, "libraries": 0.5}
    assert model.cpu_s == pytest.approx(2.1)  # what no thread owns any more stays


def test_a_row_of_the_machine_is_kept(result):
    measured, folder = result
    path = append_row(folder, measured)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert path.stem == measured["machine"]["name"]
    assert len(rows) == 2
    assert tuple(rows[0]) == COLUMNS
    assert float(rows[1]["ratio"]) == measured["ratio"]


@pytest.mark.parametrize(("place", "why"), [("/proc/none", ".csv cannot be written there: No such file"), (__file__, "is no folder")])
def test_a_place_for_rows_that_cannot_be_written_is_told_before_the_measurement(place, why, capsys):
    assert main(["bench", "--source", "synthetic", "--row", place, "--set", "model.name=marker", "--set", "mqtt.enabled=false"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith(f"--row {place}: ")
    assert why in told.err


def script(name):
    """A script of the repository as a module."""
    loader = importlib.machinery.SourceFileLoader(name.replace("-", "_"), str(ROOT / "scripts" / name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


def test_standard_cases_that_cannot_be_measured_end_with_benchs_own_words(tmp_path, monkeypatch, capfd):
    cases = script("bench")
    monkeypatch.setattr(cases, "FOLDER", tmp_path)
    monkeypatch.setattr(sys, "argv", ["bench", "nothing", str(tmp_path)])
    assert cases.main() == 1
    assert "model nothing: no such model" in capfd.readouterr().err


def test_the_guard_compares_with_the_last_row_of_the_same_kind(result, tmp_path):
    measured, _ = result
    check = script("bench-check")
    path = append_row(tmp_path, {**measured, "ratio": 0.5})
    append_row(tmp_path, {**measured, "ratio": 0.8})
    append_row(tmp_path, {**measured, "ratio": 0.3, "source": "another.mp4"})
    append_row(tmp_path, {**measured, "ratio": 0.3, "pace": "full"})
    row = {name: str(measured[name]) for name in check.SAME}
    assert check.last_like(read_rows(path), row) == 0.8
    assert check.last_like(read_rows(path), {**row, "threads": "7"}) is None
    assert check.fell(0.71, 0.8)
    assert not check.fell(0.73, 0.8)


@pytest.mark.parametrize("ratio", ["", "abc", "nan", "inf", "0", "-1"])
def test_the_guard_passes_over_a_row_without_a_usable_ratio(result, tmp_path, ratio):
    measured, _ = result
    check = script("bench-check")
    path = append_row(tmp_path, {**measured, "ratio": 0.8})
    append_row(tmp_path, {**measured, "ratio": ratio})
    assert check.last_like(read_rows(path), {name: str(measured[name]) for name in check.SAME}) == 0.8


def test_a_row_behind_one_that_was_cut_starts_on_a_line_of_its_own(result, tmp_path):
    measured, _ = result
    path = append_row(tmp_path, measured)
    append_row(tmp_path, {**measured, "ratio": 0.4})
    path.write_bytes(path.read_bytes()[:-60])
    append_row(tmp_path, {**measured, "ratio": 0.8})
    assert [row["ratio"] for row in read_rows(path)] == [str(measured["ratio"]), "0.8"]


@pytest.mark.parametrize("content", [b"a,b\n1,2\n", b"\x00\xff\x80" * 100, b"date,source\n1,dance.mp4\n"])
def test_a_file_of_another_kind_is_told_in_one_line_before_the_measurement_and_kept(monkeypatch, capsys, tmp_path, content):
    check = script("bench-check")
    path = tmp_path / f"{machine().name}.csv"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"(has other columns|not a file of rows)") as told:
        check.check(tmp_path, ["--source", "synthetic"], keep=True)
    assert str(told.value).startswith(str(path))
    assert main(["bench", "--source", "synthetic", "--set", "model.name=marker", "--row", str(tmp_path)]) == 2
    assert path.read_bytes() == content


def test_the_guard_explains_itself():
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "bench-check", "--help"], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, "Exit code 1" in done.stdout, done.stderr) == (0, True, "")


def test_the_shipped_rows_can_be_read_and_say_their_pace():
    for path in (ROOT / "benchmarks").glob("*-cores.csv"):
        rows = read_rows(path)
        assert rows
        assert all((row["pace"] == "live") == (float(row["fps"]) < 31) for row in rows)


def test_a_model_has_one_name_in_the_row_however_it_was_asked_for(shared):
    file = shared.models / "movenet_single_pose_lightning_ptq.tflite"
    by_path, by_name = Model(name=str(file)), Model(name="movenet-lightning", directory=str(shared.models))
    assert _model(by_path, "cpu") == _model(by_name, "cpu") == file.stem


def edgetpu_words(cpu_model, *more):
    settings = {"model.name": cpu_model, "model.accelerator": "edgetpu", "model.threads": 1, "camera.fps": 120}
    words = ["bench", "--source", "synthetic", "--people", "1", "--runs", "1", "--frames", "50", *more]
    return [*words, *(word for key, value in settings.items() for word in ("--set", f"{key}={value}"))]


def test_an_edge_tpu_is_measured_alone_and_labelled_as_such(tpu, cpu_model, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert main(edgetpu_words(cpu_model, "--row", str(tmp_path))) == 0
    text = capsys.readouterr().out
    assert "of the compiled model as the node runs it" in text
    assert "threads" not in text
    (row,) = read_rows(tmp_path / f"{machine().name}.csv")
    assert (row["accelerator"], row["threads"], row["model"]) == ("edgetpu", "", f"{cpu_model.stem}_edgetpu")


def test_an_edge_tpu_that_is_not_there_is_not_replaced_by_the_cpu(tpu, cpu_model, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    tpu.control.present = 0
    assert main(edgetpu_words(cpu_model)) == 1
    captured = capsys.readouterr()
    assert captured.err.strip().splitlines()[-1].startswith("the Edge TPU cannot be used: no Edge TPU on USB or PCIe")
    assert captured.out == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--source", "/nowhere.mp4", "--set", "model.name=marker"], "/nowhere.mp4: no such file or folder"),
        (["--source", "/no: clip #1.mp4", "--set", "model.name=marker"], "/no: clip #1.mp4: no such file or folder"),
        (["--set", "model.name=nothing"], "model nothing: no such model"),
        (["--source", "/dev/video97", "--set", "model.name=marker", "--set", "model.threads=1"], "/dev/video97: no such camera"),
    ],
)
def test_what_cannot_be_measured_is_told_in_one_line(words, said, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert main(["bench", *words]) == 1
    assert said in capsys.readouterr().err.strip().splitlines()[-1]


def children_of(process):
    """Command lines of what the process has started."""
    try:
        numbers = Path(f"/proc/{process}/task/{process}/children").read_text().split()
        return [Path(f"/proc/{number}/cmdline").read_text() for number in numbers]
    except FileNotFoundError:
        return []


@pytest.mark.skipif(mosquitto() is None, reason="mosquitto is not installed")
def test_ctrl_c_ends_it_quietly_also_what_listens_for_it(tmp_path):
    words = ["bench", "--source", "synthetic", "--set", "model.name=marker", "--set", "model.threads=1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "edge_node", *words],
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        while not any("bench.subscriber" in command for command in children_of(process.pid)):
            assert process.poll() is None
            time.sleep(0.02)
        time.sleep(0.5)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does it
        said = process.communicate(timeout=60)[1]
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in said
    assert process.returncode == 130


@pytest.mark.skipif(mosquitto() is None, reason="mosquitto is not installed")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_when_it_is_told_to_end_nothing_of_it_is_left(number, code, tmp_path):
    words = ["bench", "--source", "synthetic", "--set", "model.name=marker", "--set", "model.threads=1"]
    program = f"""
        import signal, sys
        from edge_node.cli import main
        signal.signal({int(number)}, signal.SIG_DFL)  # whoever runs the tests may have it ignored
        sys.exit(main(sys.argv[1:]))"""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), *words],
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache"), "TMPDIR": str(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while not any("bench.subscriber" in command for command in children_of(process.pid)):
            assert process.poll() is None
            time.sleep(0.02)
        started = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.send_signal(number)
        said = process.communicate(timeout=60)[1]
    finally:
        process.kill()
        process.wait()
    assert process.returncode == code
    assert "Traceback" not in said
    assert len(started) >= 2
    assert not [number for number in started if Path(f"/proc/{number}").exists()]
    assert not list(tmp_path.glob("edge-node-*"))
