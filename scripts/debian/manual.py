"""The manual page and the bash completion, made from the command line's own parsers."""

import argparse
import importlib
from collections.abc import Iterator

from edge_node import __version__
from edge_node.cli import VERBS


def _verb_parser(verb: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"edge-node {verb}", add_help=False)
    importlib.import_module(f"edge_node.commands.{verb.replace('-', '_')}").add_arguments(parser)
    return parser


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:  # noqa: SLF001 - argparse offers no other way to ask what a parser takes
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - the same
            for inner in action.choices.values():
                yield from _actions(inner)
        elif action.help != argparse.SUPPRESS:
            yield action


def _choices(parser: argparse.ArgumentParser) -> list[str]:
    """Words that complete: options, the choices of arguments, and the names of inner verbs."""
    words: list[str] = []
    for action in parser._actions:  # noqa: SLF001 - the same
        words += [option for option in action.option_strings if option.startswith("--")]
        if not action.option_strings and action.choices:
            words += [str(choice) for choice in action.choices]
    return words


def bash_completion() -> str:
    """A completion that starts no program: the words are known when the package is built."""
    cases = [f"    {verb}) words='{' '.join(['--help', *_choices(_verb_parser(verb))])}' ;;" for verb in VERBS]
    return "\n".join(
        [
            "# bash completion for edge-node; made from its command line.",
            "_edge_node() {",
            "  local word=${COMP_WORDS[COMP_CWORD]} words",
            "  case ${COMP_WORDS[1]} in",
            *cases,
            f"    *) words='--help --version {' '.join(VERBS)}' ;;",
            "  esac",
            "  # shellcheck disable=SC2207 # the words have no spaces",
            '  COMPREPLY=($(compgen -W "$words" -- "$word"))',
            "}",
            "complete -o default -F _edge_node edge-node",
            "",
        ]
    )


def manual_page(date: str) -> str:
    """edge-node(1), in man's own language."""
    lines = [
        f'.TH EDGE-NODE 1 "{date}" "edge_node {__version__}" "User commands"',
        ".SH NAME",
        "edge-node \\- a camera node that says where people's joints are, and nothing else",
        ".SH SYNOPSIS",
        ".B edge-node",
        "VERB [OPTION ...]",
        ".SH VERBS",
    ]
    for verb, summary in VERBS.items():
        lines += [".SS " + _escape(verb), _escape(summary[0].upper() + summary[1:] + ".")]
        for action in _actions(_verb_parser(verb)):
            lines += [".TP", f".B {_escape(_shown(action))}", _escape(_help(action))]
    lines += [".SH EXIT STATUS", "0 fine, 1 failed, 2 wrong usage, 78 wrong configuration, 130 interrupted.", ".SH FILES"]
    files = {
        "/etc/edge-node/edge-node.yaml": "The configuration of the service, every key commented.",
        "/etc/credstore/edge-node.mqtt-password": "The password at the broker; readable by root alone.",
        "/var/lib/edge-node": "State of the service: models, and events that wait for a broker.",
        "/run/edge-node/status.sock": "Where edge-node status asks the service.",
    }
    for path, meaning in files.items():
        lines += [".TP", f".I {_escape(path)}", meaning]
    lines += [".SH SEE ALSO", ".BR journalctl (1),", ".BR mosquitto_sub (1)", ""]
    return "\n".join(lines)


def _shown(action: argparse.Action) -> str:
    value = action.metavar or ("|".join(map(str, action.choices)) if action.choices else action.dest.upper())
    shown = str(value if isinstance(value, str) else " ".join(value))
    if not action.option_strings:
        return shown
    return ", ".join(action.option_strings) + ("" if action.nargs == 0 else f" {shown}")


def _help(action: argparse.Action) -> str:
    text = (action.help or "").replace("%(default)s", str(action.default)).replace("%%", "%")
    return text or "See the documentation."


def _escape(text: str) -> str:
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + escaped if escaped.startswith((".", "'")) else escaped
