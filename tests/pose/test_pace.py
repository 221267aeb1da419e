import pytest

from edge_node.config.load import override
from edge_node.config.models import Config
from edge_node.health import Health
from edge_node.pose.pace import Pace


def config(**keys):
    return override(Config(), {f"pose.{name}" if "." not in name else name: value for name, value in keys.items()})


def looked(pace, media_ns=0, squares=1, took_ms=10.0, people=1, *, on=("cpu",), **keys):
    pace.looked(media_ns, squares=squares, took_ms=took_ms, accelerators=set(on), people=people, config=config(**keys))


def live(parallel=1):
    """Of a camera, looked at with the CPU."""
    pace = Pace(Health(), live=True)
    pace.budget(config(), accelerator="cpu", parallel=parallel)
    return pace


def test_the_number_set_is_the_number_used():
    assert Pace(Health(), live=True).budget(config(max_inferences=5), accelerator="cpu", parallel=2) == 5


@pytest.mark.parametrize(("max_people", "budget"), [(1, 1), (4, 5)])
def test_a_file_gets_the_same_number_however_slow_the_machine(max_people, budget):
    pace = Pace(Health(), live=False)
    looked(pace, took_ms=4000)
    assert pace.budget(config(max_people=max_people), accelerator="cpu", parallel=1) == budget


@pytest.mark.parametrize(("took_ms", "budget"), [(5.0, 6), (10.0, 3), (25.0, 1), (500.0, 1)])
def test_a_live_camera_gets_what_fits_between_two_frames(took_ms, budget):
    pace = live()
    looked(pace, took_ms=took_ms)
    assert pace.budget(config(max_people=9), accelerator="cpu", parallel=1) == pytest.approx(budget, abs=0)


def test_parallel_interpreters_double_it():
    pace = live(parallel=2)
    looked(pace, squares=2, took_ms=10.0)
    assert pace.budget(config(max_people=9), accelerator="cpu", parallel=2) == 6


def test_a_latency_target_takes_the_place_of_the_frame_interval():
    pace = live()
    looked(pace, took_ms=10.0)
    assert pace.budget(config(max_people=9, latency_target_ms=60.0), accelerator="cpu", parallel=1) == 5


def test_while_nobody_is_in_view_only_some_frames_are_looked_at():
    pace = Pace(Health(), live=False)
    wanted = []
    for number in range(1, 61):
        media_ns = number * 33_333_333
        wanted.append(pace.wants(media_ns, config(idle_fps=5.0)))
        if wanted[-1]:
            looked(pace, media_ns, people=0)
    assert 9 <= sum(wanted) <= 11


@pytest.mark.parametrize("idle_fps", [2.0, 7.0, 20.0, 25.0])
def test_while_nobody_is_in_view_as_many_frames_are_looked_at_as_were_asked_for(idle_fps):
    """Of 30 frames a second, whose interval is no part of the one asked for."""
    pace = Pace(Health(), live=False)
    times_ns = [number * 33_333_333 for number in range(600)]
    wanted = 0
    for media_ns in times_ns:
        if pace.wants(media_ns, config(idle_fps=idle_fps)):
            wanted += 1
            looked(pace, media_ns, people=0, idle_fps=idle_fps)
    assert wanted == pytest.approx(20 * idle_fps, abs=2)


def test_somebody_who_asks_for_next_to_no_looks_gets_one_a_day():
    pace = Pace(Health(), live=False)
    looked(pace, 10**9, people=0)
    assert not pace.wants(3600 * 10**9, config(idle_fps=1e-300))
    assert pace.wants(86_401 * 10**9, config(idle_fps=1e-300))


def test_as_soon_as_somebody_is_there_every_frame_is_looked_at():
    pace = Pace(Health(), live=False)
    looked(pace, 10**9, people=1)
    assert pace.wants(10**9 + 1, config(idle_fps=0.1))


def test_a_hot_processor_rests_and_it_is_said():
    health = Health()
    pace = Pace(health, live=True)
    health.fact("soc_temperature_c", 84.0)
    looked(pace, took_ms=60_000)
    assert not pace.wants(0, config())
    assert "78" in health.problems()["temperature"]
    health.fact("soc_temperature_c", 60.0)
    looked(pace, took_ms=60_000)
    assert pace.wants(0, config())
    assert "temperature" not in health.problems()


@pytest.mark.parametrize(("temperature_c", "share"), [(79.0, 0.91), (82.0, 0.63), (86.0, 0.25), (99.0, 0.25)])
@pytest.mark.parametrize("took_ms", [1.0, 20.0])
def test_a_hot_processor_looks_at_fewer_frames_however_quick_the_model_is(took_ms, temperature_c, share, monkeypatch):
    """As on an Edge TPU, whose host gets hot of everything else."""
    now_ns = [10**9]
    monkeypatch.setattr("time.monotonic_ns", lambda: now_ns[0])
    health = Health()
    health.fact("soc_temperature_c", temperature_c)
    pace = Pace(health, live=True)
    wanted = 0
    for number in range(300):
        now_ns[0] = 2 * 10**9 + number * 33_333_333
        if pace.wants(now_ns[0], config()):
            wanted += 1
            media_ns = now_ns[0]
            now_ns[0] += int(took_ms * 1e6)
            looked(pace, media_ns, took_ms=took_ms)
    assert wanted == pytest.approx(300 * share, abs=4)


@pytest.mark.parametrize("camera_fps", [5, 10, 60])
def test_a_hot_processor_looks_at_fewer_frames_whatever_the_cameras_own_rate(camera_fps, monkeypatch):
    """A stream's, which may be another one than ``camera.fps``; some looks before were further apart, nobody was in view."""
    now_ns = [10**9]
    monkeypatch.setattr("time.monotonic_ns", lambda: now_ns[0])
    health = Health()
    pace = Pace(health, live=True)
    wanted = 0
    for number in range(400):
        now_ns[0] = 2 * 10**9 + number * 10**9 // camera_fps
        if pace.wants(now_ns[0], config(idle_fps=1.0)):
            wanted += number >= 100
            media_ns = now_ns[0]
            now_ns[0] += 10**6
            looked(pace, media_ns, took_ms=1.0, people=int(number >= 50), idle_fps=1.0)
        if number == 99:
            health.fact("soc_temperature_c", 90.0)
    assert wanted == pytest.approx(300 / 4, abs=4)


def test_a_file_never_rests():
    health = Health()
    health.fact("soc_temperature_c", 100.0)
    pace = Pace(health, live=False)
    looked(pace, took_ms=60_000)
    assert pace.wants(0, config())


def test_while_nobody_is_in_view_frames_are_wanted_from_the_next_look_on():
    pace = Pace(Health(), live=True)
    assert pace.wanted_from_ns(config(idle_fps=2.0)) == 0
    looked(pace, 10**9, took_ms=5, people=0, idle_fps=2.0)
    assert pace.wanted_from_ns(config(idle_fps=2.0)) == 10**9 + 500_000_000
    assert pace.wanted_from_ns(config(idle_fps=0.0)) == 0
    looked(pace, 2 * 10**9, took_ms=5, idle_fps=2.0)
    assert pace.wanted_from_ns(config(idle_fps=2.0)) == 0


def budget(pace, accelerator, parallel):
    return pace.budget(config(max_people=9), accelerator=accelerator, parallel=parallel)


@pytest.mark.parametrize("workers", [1, 2])
def test_when_another_accelerator_takes_over_the_budget_is_measured_anew(workers):
    """An Edge TPU at 5 ms a square, then a CPU at 10 ms a round."""
    pace = Pace(Health(), live=True)
    assert budget(pace, "edgetpu", 1) == 1  # nothing is known yet
    looked(pace, squares=1, took_ms=5.0, on=["edgetpu"])
    assert budget(pace, "edgetpu", 1) == 6
    assert budget(pace, "cpu", workers) == workers
    looked(pace, squares=workers, took_ms=10.0)
    assert budget(pace, "cpu", workers) == 3 * workers


def test_a_frame_in_the_midst_of_which_the_accelerator_failed_says_nothing_of_its_speed():
    pace = Pace(Health(), live=True)
    budget(pace, "edgetpu", 1)
    looked(pace, squares=1, took_ms=5.0, on=["edgetpu"])
    for on in (["cpu"], ["cpu", "edgetpu"]):
        looked(pace, squares=2, took_ms=2000.0, on=on)
    assert budget(pace, "edgetpu", 1) == 6
