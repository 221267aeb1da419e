"""The live page in a real browser: what is drawn where, tuning, zones, a lost connection, both widths, accessibility."""

import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Locator, expect, sync_playwright
from playwright.sync_api import Page as Tab

from edge_node.config.load import load
from edge_node.config.models import Model
from edge_node.data import Frame, People
from edge_node.engine.cpu import open_cpu_engine
from edge_node.pose.estimator import Estimator
from tests.conftest import Shared
from tests.recordings.made import write_recording
from tests.sink.parts import free_port, wait_for

Serve = Callable[..., Any]
Standing = Callable[..., People]
SIZES = {"desktop": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.fail("Chromium is missing; scripts/test installs it")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield launched
        launched.close()


@pytest.fixture(name="serve")
def _serve_and_tick(serve: Serve) -> Iterator[Serve]:
    """Pages that tell their health every second, as a running node does: one that is silent counts as lost."""
    pages: list[Any] = []
    stop = threading.Event()

    def start(*overrides: str, **options: Any) -> Any:
        pages.append(serve(*overrides, **options))
        return pages[-1]

    def tick() -> None:
        while not stop.wait(0.1):
            for page in pages:
                with suppress(RuntimeError):  # the test has stopped it
                    page.sink.tick()

    thread = threading.Thread(target=tick)
    thread.start()
    yield start
    stop.set()
    thread.join()


@contextmanager
def feeding(page: Any, standing: Standing, x: float = 0.4, count: int = 1, image: Any = None) -> Iterator[None]:
    """Poses at about 50 a second while the context lasts."""
    stop = threading.Event()

    def feed() -> None:
        seq = 0
        while not stop.wait(0.02):
            page.show(standing(seq, x=x, count=count, image=image))
            seq += 1

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def open_tab(browser: Browser, page: Any, size: str = "desktop", scheme: str = "light") -> Tab:
    tab = browser.new_page(viewport=SIZES[size], color_scheme=scheme)  # type: ignore[arg-type]
    problems: list[str] = []
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.on("console", lambda message: note(problems, message))
    tab.problems = problems  # type: ignore[attr-defined]
    tab.goto(f"http://127.0.0.1:{page.port}/")
    expect(tab.locator("#connection")).to_have_text("connected")
    return tab


def note(problems: list[str], message: ConsoleMessage) -> None:
    if message.type == "error":
        problems.append(message.text)


def colour_at(tab: Tab, x: float, y: float) -> tuple[int, ...]:
    """RGB of the canvas at a normalised place."""
    return tuple(
        tab.evaluate(
            """([x, y]) => { const c = document.getElementById("canvas");
            return [...c.getContext("2d").getImageData(Math.floor(x * c.width), Math.floor(y * c.height), 1, 1).data].slice(0, 3) }""",
            [x, y],
        )
    )


def until(tab: Tab, expression: str) -> None:
    """Wait for a JavaScript expression to be true. (The page's policy forbids what Playwright's own waiting needs.)"""
    for _ in range(200):
        if tab.evaluate(expression):
            return
        tab.wait_for_timeout(50)
    pytest.fail(f"never true in the page: {expression}")


def wait_for_drawing(tab: Tab) -> None:
    until(tab, "edgeNodeDrawn.latency_ms.length > 3")


def test_joints_are_drawn_where_the_messages_say(serve: Serve, standing: Standing, browser: Browser) -> None:
    page = serve()
    tab = open_tab(browser, page)
    with feeding(page, standing, x=0.4, count=2):
        wait_for_drawing(tab)
        for person, colour in zip(standing(0, x=0.4, count=2).people, [(79, 209, 197), (246, 173, 85)], strict=True):
            for x, y, _ in person.keypoints:
                assert colour_at(tab, float(x), float(y)) == colour
        assert colour_at(tab, 0.05, 0.95) == (0, 0, 0)
        expect(tab.locator("#people")).to_have_text("2 people in view")
    assert tab.problems == []  # type: ignore[attr-defined]


def test_whoever_is_carried_on_by_their_motion_is_drawn_paler(serve: Serve, standing: Standing, browser: Browser) -> None:
    page = serve()
    tab = open_tab(browser, page)
    people = standing(0, x=0.4)
    nose_x, nose_y, _ = (float(value) for value in people.people[0].keypoints[0])
    shades = []
    for seq, predicted in enumerate((False, True)):
        page.show(replace(people, seq=seq, people=(replace(people.people[0], predicted=predicted),)))
        until(tab, f"edgeNodeDrawn.seq === {seq}")
        shades.append(sum(colour_at(tab, nose_x, nose_y)))
    assert 0 < shades[1] < shades[0]


def test_skeletons_move_with_the_poses_of_a_clip(serve: Serve, browser: Browser, shared: Shared) -> None:
    page = serve()
    tab = open_tab(browser, page)
    engine = open_cpu_engine(Model(name=str(shared.models / "movenet_single_pose_lightning_ptq.tflite"), threads=1))
    estimator = Estimator(engine, page.settings, page.health)
    clip = cv2.VideoCapture(str(shared.clips / "squats.mp4"))
    noses = []
    for seq in range(16):
        image = cv2.cvtColor(clip.read()[1], cv2.COLOR_BGR2RGB)
        people = estimator.process(Frame(image, seq, time.monotonic_ns(), seq * 200_000_000, 0.0))
        page.show(people)
        if seq % 5:
            continue
        until(tab, f"edgeNodeDrawn.seq === {seq}")
        for person in people.people:
            noses.append(float(person.keypoints[0, 1]))
            for x, y, score in person.keypoints:
                if score >= 0.25:
                    assert colour_at(tab, float(x), float(y)) == pytest.approx((79, 209, 197), abs=8)
    engine.close()
    assert max(noses) - min(noses) > 0.1, "she squats"


def test_the_drawing_follows_the_person(serve: Serve, standing: Standing, browser: Browser) -> None:
    page = serve()
    tab = open_tab(browser, page)
    with feeding(page, standing, x=0.2):
        wait_for_drawing(tab)
        assert colour_at(tab, 0.2, 0.2) != (0, 0, 0)
    with feeding(page, standing, x=0.8):
        for _ in range(100):
            if colour_at(tab, 0.8, 0.2) != (0, 0, 0):
                break
            tab.wait_for_timeout(20)
        assert colour_at(tab, 0.8, 0.2) != (0, 0, 0)
        assert colour_at(tab, 0.2, 0.2) == (0, 0, 0)


def test_a_slider_changes_the_nodes_value_and_reset_takes_it_back(serve: Serve, browser: Browser) -> None:
    page = serve()
    tab = open_tab(browser, page)
    slider = tab.get_by_label("pose.score_threshold slider")
    slider.fill("500")
    page_value(tab, page, "#key-pose-score_threshold", 0.5)
    tab.get_by_label("reset pose.score_threshold to the configuration file").click()
    page_value(tab, page, "#key-pose-score_threshold", 0.2)


def test_the_left_end_of_a_slider_whose_smallest_value_is_excluded_is_the_next_one(serve: Serve, browser: Browser) -> None:
    page = serve()
    tab = open_tab(browser, page)
    slider = tab.get_by_label("smoothing.time_constant_ms slider")
    slider.focus()
    slider.press("Home")
    expect(tab.locator("#tuning-result")).to_contain_text("smoothing.time_constant_ms is ")
    assert 0 < page.settings.current.smoothing.time_constant_ms < 10
    expect(tab.locator("#key-smoothing-time_constant_ms-help")).to_contain_text("From above 0 to ")


def page_value(tab: Tab, page: Any, selector: str, value: float) -> None:
    """Let the node tell its settings until it has ``value`` and the field shows it."""
    field: Locator = tab.locator(selector)
    for _ in range(50):
        page.sink.tick()
        if page.settings.current.pose.score_threshold == float(field.input_value()) == value:
            return
        tab.wait_for_timeout(50)
    pytest.fail(f"{selector} shows {field.input_value()}, not {value}")


def test_a_value_out_of_range_is_refused_in_words(serve: Serve, browser: Browser) -> None:
    page = serve()
    tab = open_tab(browser, page)
    tab.locator("#key-pose-max_people").fill("99")
    tab.locator("#key-pose-max_people").press("Enter")
    expect(tab.locator("#tuning-result")).to_contain_text("Refused: pose.max_people: should be less than or equal to 32")
    assert page.settings.current.pose.max_people == 6


@pytest.mark.parametrize("text", ["99", ""])
def test_a_refused_value_gives_way_to_the_one_in_force(serve: Serve, browser: Browser, text: str) -> None:
    page = serve()
    tab = open_tab(browser, page)
    field = tab.locator("#key-pose-max_people")
    field.fill(text)
    field.press("Enter")
    expect(tab.locator("#tuning-result")).to_contain_text("Refused")
    expect(field).to_have_value("6")


def test_joints_below_the_threshold_in_force_are_not_drawn(serve: Serve, standing: Standing, browser: Browser) -> None:
    page = serve("pose.score_threshold=0.5")
    tab = open_tab(browser, page)
    people = standing(0)
    people.people[0].keypoints[:, 2] = 0.4
    nose_x, nose_y, _ = (float(value) for value in people.people[0].keypoints[0])
    page.show(people)
    until(tab, "edgeNodeDrawn.seq === 0")
    assert colour_at(tab, nose_x, nose_y) == (0, 0, 0)
    page.settings.set("pose.score_threshold", 0.3)
    page.sink.tick()
    page.show(replace(people, seq=1))
    until(tab, "edgeNodeDrawn.seq === 1")
    assert colour_at(tab, nose_x, nose_y) != (0, 0, 0)


def test_a_slider_moves_by_one_on_a_key_and_tells_the_value_and_not_its_own_place(serve: Serve, browser: Browser) -> None:
    page = serve()
    tab = open_tab(browser, page)
    slider = tab.get_by_role("slider", name="pose.max_people slider")
    assert slider.evaluate("slider => slider.ariaValueText") == "6"
    slider.press("ArrowRight")
    assert slider.evaluate("slider => slider.ariaValueText") == "7"
    expect(tab.get_by_role("spinbutton", name="pose.max_people")).to_have_value("7")
    assert tab.get_by_role("checkbox", name="enabled").count() == 2
    assert tab.get_by_role("checkbox", name="smoothing.enabled").count() == 1


def test_a_zone_is_drawn_with_the_mouse_saved_and_removed(serve: Serve, standing: Standing, browser: Browser) -> None:
    page = serve()
    tab = open_tab(browser, page)
    with feeding(page, standing):
        wait_for_drawing(tab)
        tab.locator("#zone-name").fill("bed")
        tab.locator("#zone-draw").click()
        canvas = tab.locator("#canvas")
        box = canvas.bounding_box()
        assert box is not None
        for x, y in ((0.6, 0.6), (0.9, 0.6), (0.9, 0.9), (0.6, 0.9)):
            canvas.click(position={"x": x * box["width"], "y": y * box["height"]})
        tab.locator("#zone-finish").click()
        expect(tab.locator("#zone-list")).to_contain_text("bed")
        zone = page.settings.current.state.zones[0]
        assert zone.name == "bed"
        assert zone.polygon == [pytest.approx(corner, abs=0.01) for corner in ((0.6, 0.6), (0.9, 0.6), (0.9, 0.9), (0.6, 0.9))]
        tab.wait_for_timeout(100)
        assert colour_at(tab, 0.75, 0.8) != (0, 0, 0)
        tab.get_by_label("remove zone bed").click()
        expect(tab.locator("#zone-list li")).to_have_count(0)
        assert page.settings.current.state.zones == []


def test_a_zone_is_drawn_by_keyboard(serve: Serve, standing: Standing, browser: Browser) -> None:
    page = serve()
    tab = open_tab(browser, page)
    page.show(standing(0))
    tab.locator("#zone-name").fill("desk")
    tab.keyboard.press("Enter")
    for key in ("Space", "ArrowRight", "ArrowRight", "Space", "ArrowDown", "ArrowDown", "Space", "Enter"):
        tab.keyboard.press(key)
    for _ in range(50):
        if page.settings.current.state.zones:
            break
        tab.wait_for_timeout(50)
    assert page.settings.current.state.zones[0].polygon == [(0.5, 0.5), (0.54, 0.5), (0.54, 0.54)]


def test_a_zone_that_could_not_be_saved_is_not_lost(serve: Serve, standing: Standing, browser: Browser) -> None:
    page = serve()
    tab = open_tab(browser, page)
    page.show(standing(0))
    tab.locator("#zone-name").fill("desk")
    tab.keyboard.press("Enter")
    for key in ("Space", "ArrowRight", "Space", "ArrowDown", "Space"):
        tab.keyboard.press(key)
    page.sink.finish(drain=False)
    expect(tab.locator("#connection")).to_contain_text("connection lost")
    tab.keyboard.press("Enter")
    expect(tab.locator("#tuning-result")).to_have_text("Refused: not connected")
    again = serve(f"web.port={page.port}")
    expect(tab.locator("#connection")).to_have_text("connected", timeout=10_000)
    tab.locator("#zone-finish").click()
    expect(tab.locator("#tuning-result")).to_have_text("zone desk saved")
    assert again.settings.current.state.zones[0].polygon == [(0.5, 0.5), (0.52, 0.5), (0.52, 0.52)]


def test_saving_shows_the_difference_first(serve: Serve, browser: Browser) -> None:
    page = serve()
    tab = open_tab(browser, page)
    page.settings.set("pose.max_people", 2)
    tab.locator("#save").click()
    expect(tab.locator("#save-diff")).to_contain_text("max_people: 2")
    assert load(page.file, {}).pose.max_people == 6
    tab.locator("#save-confirm").click()
    expect(tab.locator("#tuning-result")).to_have_text("saved to the configuration file")
    assert load(page.file, {}).pose.max_people == 2


def test_saving_names_the_keys_that_something_else_stands_over(serve: Serve, browser: Browser) -> None:
    page = serve("pose.max_people=3")
    page.settings.set("pose.max_people", 2)
    tab = open_tab(browser, page)
    tab.locator("#save").click()
    tab.locator("#save-confirm").click()
    expect(tab.locator("#tuning-result")).to_contain_text("still tuned, as a variable or --set stands over the file: pose.max_people")


def test_a_lost_connection_is_told_and_comes_back(serve: Serve, standing: Standing, browser: Browser) -> None:
    page = serve()
    tab = open_tab(browser, page)
    page.sink.finish(drain=False)
    expect(tab.locator("#connection")).to_have_text("connection lost, trying again …")
    again = serve(f"web.port={page.port}")
    expect(tab.locator("#connection")).to_have_text("connected", timeout=10_000)
    again.show(standing(7))
    until(tab, "edgeNodeDrawn.seq === 7")


@contextmanager
def replayed(path: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """The program itself, which serves a recording over and over; it can be frozen."""
    words = [sys.executable, "-m", "edge_node", "replay", str(path), "--web", "--loop", "--set", f"web.port={port}"]
    with subprocess.Popen(words, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(lambda: listens(port))
            yield process
        finally:
            process.kill()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_node_that_froze_or_vanished_is_told_and_comes_back(tmp_path: Path, browser: Browser) -> None:
    port = free_port()
    with replayed(write_recording(tmp_path / "a.jsonl", count=300), port) as node:
        tab = open_tab(browser, SimpleNamespace(port=port))
        people, said = tab.locator("#people"), tab.locator("#connection")
        expect(people).to_have_text("1 person in view")
        tab.wait_for_timeout(6000)
        expect(said).to_have_text("connected")
        node.send_signal(signal.SIGSTOP)
        tab.locator("#reset-all").click()  # its answer never comes
        expect(people).to_have_text("not known: the connection is lost", timeout=8000)
        expect(said).to_have_text("connection lost, trying again …")
        expect(tab.locator("#tuning-result")).to_have_text("Refused: connection lost")
        tab.wait_for_timeout(6000)  # also whoever tries again hears nothing
        expect(said).to_have_text("connection lost, trying again …")
        node.send_signal(signal.SIGCONT)
        expect(people).to_have_text("1 person in view", timeout=15_000)
        expect(said).to_have_text("connected")


def test_nobody_is_said_to_be_in_view_without_camera_or_connection(serve: Serve, standing: Standing, browser: Browser) -> None:
    page = serve()
    tab = open_tab(browser, page)
    people, canvas = tab.locator("#people"), tab.locator("#canvas")
    with feeding(page, standing):
        expect(people).to_have_text("1 person in view")
    page.health.problem("camera", "no frame for 5 s")
    tab.wait_for_timeout(1100)
    page.sink.tick()
    expect(people).to_have_text("the camera gives no pictures")
    expect(canvas).to_have_css("opacity", "0.4")
    page.health.problem("camera", None)
    with feeding(page, standing):
        expect(people).to_have_text("1 person in view")
        expect(canvas).to_have_css("opacity", "1")
    page.sink.finish(drain=False)
    expect(people).to_have_text("not known: the connection is lost")
    expect(canvas).to_have_css("opacity", "0.4")


def test_a_page_that_finds_no_place_says_so_and_gets_one_when_there_is(serve: Serve, browser: Browser) -> None:
    page = serve("web.max_viewers=1")
    first = open_tab(browser, page)
    second = browser.new_page()
    second.goto(f"http://127.0.0.1:{page.port}/")
    expect(second.locator("#connection")).to_have_text("all 1 places for viewers are taken, trying again …")
    first.close()
    expect(second.locator("#connection")).to_have_text("connected", timeout=10_000)


def picture() -> Any:
    return np.full((480, 640, 3), 200, np.uint8)


def test_a_camera_picture_goes_when_its_viewer_or_a_new_start_wants_none(serve: Serve, standing: Standing, browser: Browser) -> None:
    page = serve("web.show_image=true")
    tab = open_tab(browser, page)
    with_picture = "document.getElementById('canvas').getContext('2d').getImageData(9, 9, 1, 1).data[0] > 150"
    box = tab.locator("#show-image")
    box.check()
    with feeding(page, standing, image=picture()):
        until(tab, with_picture)
    box.uncheck()
    until(tab, f"!({with_picture})")
    box.check()
    tab.wait_for_timeout(200)
    assert not tab.evaluate(with_picture), "an old one is not shown as if it were of now"
    with feeding(page, standing, image=picture()):
        until(tab, with_picture)
    page.sink.finish(drain=False)
    again = serve(f"web.port={page.port}")
    expect(tab.locator("#connection")).to_have_text("connected", timeout=10_000)
    again.show(standing(7))
    until(tab, "edgeNodeDrawn.seq === 7")
    assert not tab.evaluate(with_picture)


def test_no_picture_is_encoded_for_a_tab_behind_another(serve: Serve, standing: Standing, browser: Browser) -> None:
    page = serve("web.show_image=true")
    tab = open_tab(browser, page)
    tab.locator("#show-image").check()
    turn = """hidden => { Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
    document.dispatchEvent(new Event("visibilitychange")); }"""

    def watched() -> bool:
        tab.wait_for_timeout(200)
        return [viewer.wants_image for viewer in page.sink._server.viewers] == [True]

    assert watched()
    tab.evaluate(turn, True)
    assert not watched()
    tab.evaluate(turn, False)
    assert watched()


def test_a_page_whose_token_is_no_longer_right_asks_for_the_new_one(serve: Serve, browser: Browser) -> None:
    page = serve("web.host=0.0.0.0", token="old")
    tab = browser.new_context().new_page()
    tab.goto(f"http://127.0.0.1:{page.port}/?token=old")
    expect(tab.locator("#connection")).to_have_text("connected")
    page.sink.finish(drain=False)
    serve("web.host=0.0.0.0", f"web.port={page.port}", token="new")
    expect(tab.locator("h1")).to_have_text("A token is needed", timeout=10_000)
    assert tab.evaluate("getComputedStyle(document.querySelector('main')).maxWidth") == "480px", "its style is for everybody"
    tab.locator("input").fill("wrong")
    tab.locator("button").click()
    expect(tab.locator("h1")).to_have_text("That is not this node's token")
    tab.locator("input").fill("new")
    tab.locator("button").click()
    expect(tab.locator("#connection")).to_have_text("connected")


def test_pages_of_two_nodes_on_one_machine_keep_their_tokens_apart(serve: Serve, browser: Browser) -> None:
    tab = browser.new_context().new_page()
    pages = {token: serve("web.host=0.0.0.0", token=token) for token in ("one", "two")}
    for token, page in pages.items():
        tab.goto(f"http://127.0.0.1:{page.port}/?token={token}")
    for page in pages.values():
        tab.goto(f"http://127.0.0.1:{page.port}/")
        expect(tab.locator("#connection")).to_have_text("connected")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", sorted(SIZES))
def test_it_fits_its_screen_and_is_accessible(serve: Serve, standing: Standing, browser: Browser, size: str, scheme: str) -> None:
    page = serve("web.show_image=true", f"node.name={64 * 'n'}")
    page.health.problem("camera", f"no frame of rtsp://{64 * 'c'}.lan/ for 5 s")
    page.settings.set("state.zones", [{"name": 64 * "z", "polygon": [(0.1, 0.1), (0.9, 0.1), (0.9, 0.9)]}])
    tab = open_tab(browser, page, size, scheme)
    with feeding(page, standing, count=2):
        wait_for_drawing(tab)
        expect(tab.locator("#problems li")).to_have_count(1)
        assert tab.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        found = Axe().run(tab).response["violations"]
    serious = [f"{v['id']}: {v['nodes'][0]['html']}" for v in found if v["impact"] in ("serious", "critical")]
    assert serious == []
    assert tab.problems == []  # type: ignore[attr-defined]
