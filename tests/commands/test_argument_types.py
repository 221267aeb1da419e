"""Values of options that several verbs take."""

import pytest

from edge_node.cli import main


@pytest.mark.parametrize(
    "words",
    [
        ["run", "--frames"],
        ["render", "a.jsonl", "-o", "a.mp4", "--frames"],
        ["record", "a.jsonl", "--frames"],
        ["evaluate", "--coco", ".", "--max-inferences"],
        ["bench", "--frames"],
        ["bench", "--runs"],
        ["bench", "--people"],
    ],
)
@pytest.mark.parametrize("text", ["0", "-3", "1.5", "many", "²"])
def test_a_number_of_something_is_positive(words: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([*words, text])
    assert end.value.code == 2
    assert f"argument {words[-1]}: {text!r} is not a positive number" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["0", "101", "-3", "1.5", "many", "²", "9" * 5000])
def test_a_sheet_has_1_to_100_pictures(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["render", "a.jsonl", "-o", "a.png", "--tiles", text])
    assert end.value.code == 2
    assert capsys.readouterr().err.endswith(f"argument --tiles: {text[:60]!r} is not a number of pictures from 1 to 100\n")


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "1e300", "long"])
def test_seconds_are_more_than_none_and_can_be_waited_for(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["demo", f"--seconds={text}"])
    assert end.value.code == 2
    assert f"{text!r} is not a number of seconds above 0" in capsys.readouterr().err


def test_an_authority_that_is_no_certificate_is_told_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", "--once", "--ca-file", __file__]) == 1
    assert capsys.readouterr().err == f"--ca-file {__file__}: not a PEM file that can be used (NO_CERTIFICATE_OR_CRL_FOUND)\n"


@pytest.mark.parametrize(
    ("option", "text", "said"),
    [
        ("--port", "0", "is not a port"),
        ("--port", "65536", "is not a port"),
        ("--port", "mqtt", "is not a port"),
        ("--node", "#", "is not the name of a node"),
        ("--node", "a/b", "is not the name of a node"),
        ("--node", "", "is not the name of a node"),
        ("--username", "a\udcff", "is not a user name"),
        ("--username", "u" * 65_536, "is not a user name"),
    ],
)
def test_what_no_broker_could_be_asked_is_wrong_usage(option: str, text: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["watch", "--once", f"{option}={text}"])
    assert end.value.code == 2
    assert f"argument {option}: " in (told := capsys.readouterr().err)
    assert said in told
