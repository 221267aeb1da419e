import json
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.simtpu.simtpu import Fault

MODEL = "movenet_single_pose_lightning_ptq.tflite"


@pytest.fixture(scope="module")
def some_pictures(shared, tmp_path_factory) -> Path:
    """Five of the shared pictures, and the annotation of a sixth that is not there."""
    folder = tmp_path_factory.mktemp("coco")
    (folder / "images").mkdir()
    document = json.loads((shared.coco / "person_keypoints.json").read_text())
    kept = document["images"][:6]
    for image in kept[:5]:
        shutil.copy(shared.coco / "images" / image["file_name"], folder / "images")
    ids = {image["id"] for image in kept}
    document |= {"images": kept, "annotations": [a for a in document["annotations"] if a["image_id"] in ids]}
    (folder / "person_keypoints.json").write_text(json.dumps(document))
    return folder


def evaluate(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edge_node", "evaluate", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def measured(shared, *words: object) -> dict:
    done = evaluate("--model", shared.models / MODEL, "--set", "model.threads=1", "--json", *words)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_people_reports_the_agreed_keys(shared, some_pictures):
    report = measured(shared, "--coco", some_pictures, "--protocol", "people", "--max-inferences", 4)
    assert {"protocol", "images", "people", "ap", "ap50", "ap75", "ar", "inferences_per_image"} <= report.keys()
    assert (report["protocol"], report["images"], report["missing"]) == ("people", 5, 1)
    assert 0.1 < report["ap"] <= report["ap50"] <= 1
    assert 1 <= report["inferences_per_image"] <= 4


def test_the_keys_that_count_on_a_still_count_here(shared, some_pictures):
    words = ["--coco", some_pictures, "--set", "pose.max_inferences=4"]
    figures = [measured(shared, *words, *more) for more in ((), ("--set", "pose.nms=parametric"), ("--set", "pose.score_threshold=0.6"))]
    assert [figure["inferences_per_image"] for figure in figures] == [4, 4, 4]
    assert len({figure["ap"] for figure in figures}) == 3


def test_boxes_take_one_inference_a_person(shared, some_pictures):
    report = measured(shared, "--coco", some_pictures, "--protocol", "boxes")
    assert report["ap"] > 0.3
    assert report["inferences_per_image"] * report["images"] <= report["people"]


def test_single_reports_the_whole_frame_beside_the_node(shared, some_pictures):
    report = measured(shared, "--coco", some_pictures, "--protocol", "single")
    assert report["images"] == report["people"] == 1
    assert report["whole_frame"]["ap"] > 0


def test_a_picture_that_cannot_be_read_is_left_out_and_said(shared, some_pictures, tmp_path):
    folder = tmp_path / "coco"
    shutil.copytree(some_pictures, folder)
    broken = min((folder / "images").iterdir())
    broken.write_bytes(b"nothing")
    done = evaluate("--model", shared.models / MODEL, "--set", "model.threads=1", "--json", "--coco", folder, "--max-inferences", 1)
    assert done.returncode == 0
    assert json.loads(done.stdout)["skipped"] == 1
    assert f"left out: {broken}: not a readable picture" in done.stderr


def test_annotations_without_keypoints_give_no_figures_and_that_is_said(shared, some_pictures, tmp_path):
    document = json.loads((some_pictures / "person_keypoints.json").read_text())
    boxes = [{key: entry[key] for key in ("image_id", "category_id", "bbox", "area", "iscrowd")} for entry in document["annotations"]]
    (tmp_path / "instances.json").write_text(json.dumps(document | {"annotations": boxes}))
    words = ("--coco", some_pictures, "--annotations", tmp_path / "instances.json", "--limit", 1, "--max-inferences", 1)
    done = evaluate("--model", shared.models / MODEL, "--set", "model.threads=1", "--json", *words)
    report = json.loads(done.stdout)
    assert (done.returncode, report["people"], report["ap"]) == (0, 0, None)
    assert "nobody in these pictures has labelled keypoints: no figure can be had" in done.stderr


def test_a_table_is_printed_for_people_to_read(shared, some_pictures):
    done = evaluate(
        "--model", shared.models / MODEL, "--set", "model.threads=1", "--coco", some_pictures, "--limit", 2, "--max-inferences", 1
    )
    assert done.returncode == 0
    assert "people: 2 pictures" in done.stdout
    assert "as the node on a still" in done.stdout


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        ([], 2, "evaluate: nothing to measure on; give --coco DIR or --sequence WHAT"),
        (["--coco", "nowhere"], 1, "nowhere: no such folder; expected one with images/ and person_keypoints.json"),
        (
            ["--coco", "."],
            1,
            ".: no person_keypoints.json or annotations/person_keypoints_val2017.json in it; name the file with --annotations",
        ),
        (["--sequence", "virtual"], 2, "--sequence virtual: is made from annotated pictures; give them with --coco DIR"),
        (["--sequence", "virtual:spin"], 2, "--sequence virtual:spin: spin is no motion; there are pan, zoom, shake, cuts"),
        (["--sequence", "nowhere.json"], 1, "nowhere.json: no such file or folder; or one of: virtual, crowd, synthetic"),
    ],
)
def test_what_cannot_be_measured_is_said_in_one_line(shared, words, code, line):
    done = evaluate("--model", shared.models / MODEL, "--set", "model.threads=1", *words)
    assert done.returncode == code
    assert [text for text in done.stderr.splitlines() if not text.startswith("INFO:")] == [line]


def test_an_edge_tpu_that_is_asked_for_must_be_there(shared):
    done = evaluate(
        "--model", shared.models / MODEL, "--set", "model.threads=1", "--set", "model.accelerator=edgetpu", "--coco", shared.coco
    )
    assert done.returncode == 1
    assert "the Edge TPU cannot be used" in done.stderr.splitlines()[-1]
    assert done.stdout == ""


def test_an_edge_tpu_that_fails_midway_gives_no_figures(tpu, cpu_model, shared, some_pictures):
    def fail_midway() -> None:
        deadline = time.monotonic() + 30
        while tpu.control.invokes < 8 and time.monotonic() < deadline:
            time.sleep(0.005)
        tpu.control.fault = Fault.ABORT

    breaker = threading.Thread(target=fail_midway)
    breaker.start()
    done = evaluate("--model", cpu_model, "--set", "model.threads=1", "--set", "model.accelerator=edgetpu", "--coco", some_pictures)
    breaker.join()
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1] == "the Edge TPU failed: the Edge TPU process is gone"


def test_a_compiled_model_on_the_cpu_is_measured_by_its_twin_and_that_is_said(shared, some_pictures):
    compiled = shared.models / MODEL.replace(".tflite", "_edgetpu.tflite")
    done = evaluate("--model", compiled, "--set", "model.threads=1", "--coco", some_pictures, "--limit", 1)
    assert done.returncode == 0
    assert done.stderr.splitlines()[0] == f"{compiled}: its twin for the CPU is measured; for the Edge TPU: --set model.accelerator=edgetpu"


def test_without_the_extra_it_says_what_to_install(shared, some_pictures, tmp_path):
    (tmp_path / "pycocotools.py").write_text("raise ImportError('not here')")
    command = [
        sys.executable,
        "-m",
        "edge_node",
        "evaluate",
        "--coco",
        str(some_pictures),
        "--model",
        str(shared.models / MODEL),
        "--limit",
        "1",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"PYTHONPATH": str(tmp_path), "PATH": ""}, timeout=60)
    assert done.returncode == 1
    assert "pycocotools is not installed; install it with: pip install 'edge-node[evaluate]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_virtual_camera_is_followed_and_measured(shared, some_pictures):
    report = measured(
        shared, "--coco", some_pictures, "--sequence", "virtual:shake", "--frames", 12, "--max-inferences", 2, "--set", "pose.max_people=1"
    )
    assert report["frames"] == 12
    assert report["pck20"] > 0.7
    assert report["identity_switches"] == 0
    assert report["second_difference_true"] > 0
    assert 0 < report["inferences_per_frame"] <= 2
    assert [part["name"] for part in report["sequences"]] == ["shake 000000000785"]


def test_sequences_too_leave_out_pictures_that_cannot_be_read_and_say_so(shared, some_pictures, tmp_path):
    folder = tmp_path / "coco"
    shutil.copytree(some_pictures, folder)
    broken = min((folder / "images").iterdir())
    broken.write_bytes(b"nothing")
    words = ["--model", shared.models / MODEL, "--set", "model.threads=1", "--json", "--coco", folder, "--limit", 2]
    done = evaluate(*words, "--sequence", "virtual:pan", "--frames", 2)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["sequences"]) == 1
    assert f"left out: 1 annotated pictures are not in {folder}" in done.stderr
    assert f"left out: {broken}: not a readable picture" in done.stderr


def test_the_drawn_scene_is_measured_with_the_built_in_model():
    words = ["--sequence", "synthetic", "--figures", "6", "--frames", "20", "--model", "marker", "--set", "model.threads=1", "--json"]
    done = evaluate(*words)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["recall"] > 0.5


def test_options_that_count_for_something_else_are_told_to_be_without_effect():
    words = ["--set", "model.name=marker", "--set", "model.threads=1"]
    done = evaluate("--sequence", "synthetic", "--frames", 2, "--limit", 3, "--protocol", "boxes", *words)
    assert done.returncode == 0
    told = [f"--{option} has no effect on --sequence synthetic" for option in ("limit", "protocol")]
    assert [line for line in done.stderr.splitlines() if "effect" in line] == told


def test_a_budget_is_told_to_be_without_effect_where_boxes_are_given(shared, some_pictures):
    words = ["--coco", some_pictures, "--limit", 1, "--max-inferences", 3, "--set", f"model.directory={shared.models}"]
    for protocol, told in (("boxes", True), ("people", False)):
        done = evaluate(*words, "--protocol", protocol)
        assert done.returncode == 0, done.stderr
        assert ("--max-inferences has no effect" in done.stderr) == told


def test_a_clip_of_ones_own_is_measured(shared, tmp_path):
    keypoints = [360, 300, 2] * 17
    frames = [{"people": [{"id": 1, "keypoints": keypoints}]}] * 3
    clip = {"video": str((shared.clips / "squats.mp4").resolve()), "fps": 5, "frames": frames}
    (tmp_path / "mine.json").write_text(json.dumps(clip))
    report = measured(shared, "--sequence", tmp_path)
    assert (report["frames"], report["person_frames"], report["pck10"]) == (3, 3, 0)
