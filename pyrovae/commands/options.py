"""The options of a run on the command line: each from the signature of the part that it belongs to.

Which options there are depends on the parts that are chosen, so there are two looks at the words: one
for the names of the parts, there and in the ``--config`` files, and one for their options.
"""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from pyrovae.commands.typed import typed
from pyrovae.fit import fit
from pyrovae.registry import parts
from pyrovae.registry.plain import is_plain, read_mapping
from pyrovae.registry.signatures import Option, read_options, words
from pyrovae.running.config import PART_KINDS, SECTIONS, Config, Part
from pyrovae.running.evaluation import evaluate

INFINITE = re.compile(r"([-+]?)(inf|nan)")
AddOthers = Callable[[ArgumentParser], None]
KIND_HELP = {
    "data": "data set",
    "model": "p(x, z)",
    "guide": "q(z given x)",
    "objective": "what is maximised",
    "optim": "optimiser, one of torch.optim",
    "scheduler": "learning-rate schedule, one of torch.optim.lr_scheduler, stepped once an epoch",
    "evidence": "how the log evidence of the test rows is estimated",
}


def parse(
    program: str,
    about: str,
    arguments: Sequence[str],
    add_others: AddOthers,
    *,
    kinds: Sequence[str] = PART_KINDS,
    sections: Sequence[str] = tuple(SECTIONS),
    start: Config | None = None,
) -> tuple[Config, Namespace]:
    """Parse the options of parts, and others.

    Args:
        program: what the help calls the program.
        about: what the help says it does.
        arguments: the words after the subcommand.
        add_others: adds the arguments that are not part of a configuration.
        kinds: which parts may be chosen.
        sections: which sections of a configuration may be set.
        start: what holds where nothing is said.

    Returns:
        The complete configuration, and a namespace with the other arguments.

    Raises:
        ValueError: an unknown name or option, a value of the wrong type, or a file that is no configuration.
        TypeError: an option that a chosen part does not have.
    """
    words_left, files, chosen = _first_look(arguments, kinds)
    whole = set(kinds) == set(PART_KINDS)
    taken = [*kinds, *sections, *(("seed", "device") if whole else ())]
    begun = _begin(start or Config(), files, chosen, taken)
    # No abbreviations: the first look would not know them, and drop what they say.
    parser = ArgumentParser(
        prog=program, description=about, exit_on_error=False, allow_abbrev=False
    )
    known: dict[str, Option] = {}
    for kind in kinds:
        _add_part(parser, kind, getattr(begun, kind), known)
    for section in sections:
        _add_section(parser, section, getattr(begun, section), known)
    if whole:
        parser.add_argument("--config", metavar="FILE", help="YAML file with any of these options")
        seed = Option("seed", int, begun.seed, "of everything random")
        device = Option("device", str, begun.device, "where to compute: cpu, cuda, ...")
        for option in (seed, device):
            _add(parser, option.name, option, {}, known)
    add_others(parser)
    found = _parse_words(parser, words_left, known, begun)
    values: dict[str, Any] = {section: _pop(known, section, found) for section in sections}
    for kind in kinds:
        if (part := getattr(begun, kind)) is not None:
            values[kind] = Part(part.name, {**part.options, **_pop(known, kind, found)})
    for key in ("seed", "device"):
        values[key] = found.pop(key, getattr(begun, key))
    return begun.updated(values).complete(), found


def _first_look(
    arguments: Sequence[str], kinds: Sequence[str]
) -> tuple[list[str], list[str], dict[str, str]]:
    """The words without ``--config FILE`` and ``--KIND NAME``, and what these said."""
    left: list[str] = []
    files: list[str] = []
    chosen: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        word, equals, value = rest.pop(0).partition("=")
        if word.startswith("--") and not equals and rest and INFINITE.fullmatch(rest[0]):
            equals, value = "=", rest.pop(0)  # or a leading minus would make it an option
        if INFINITE.fullmatch(value):
            value = INFINITE.sub(r"\1.\2", value)  # as YAML writes it
        name = word.removeprefix("--")
        if not word.startswith("--") or name not in ("config", *kinds):
            left.append(word + equals + value)
            continue
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise ValueError(
                    f"{word} needs a {'file' if name == 'config' else 'name'} after it."
                )
            value = rest.pop(0)
        if name == "config":
            files.append(value)
        else:
            chosen[name] = value
    return left, files, chosen


def _begin(
    start: Config, files: Sequence[str], chosen: Mapping[str, str], taken: Sequence[str]
) -> Config:
    """The configuration before single options: defaults, then files with what is taken, then names."""
    config, named = start, set(chosen)
    for file in files:
        values = read_mapping(file)
        for key in sorted({*vars(start)}.intersection(values).difference(taken)):
            raise ValueError(f"{file} sets {key!r}; here a file may set {', '.join(taken)} only.")
        named |= set(values)
        config = config.updated(values)
    for kind, name in chosen.items():
        part = getattr(config, kind)
        if kind == "scheduler" and name.lower() in ("none", "null"):
            config = replace(config, scheduler=None)
        elif part is None or parts.public_name(kind, part.name) != parts.public_name(kind, name):
            config = config.updated({kind: name})  # the options of another part do not apply
    if "model" in named and "guide" not in named:
        exact = callable(getattr(parts.resolve("model", config.model.name), "posterior", None))
        config = replace(config, guide=Part("ExactPosterior" if exact else "Amortized"))
    return config


def _add_part(
    parser: ArgumentParser, kind: str, part: Part | None, known: dict[str, Option]
) -> None:
    """The choice of a part, and the options of the one that is chosen."""
    about = KIND_HELP[kind]
    choices = ", ".join(parts.names(kind))
    name = "none" if part is None else parts.public_name(kind, part.name)
    group = parser.add_argument_group(f"{kind}: {name}")
    group.add_argument(
        f"--{kind}",
        metavar="NAME",
        default=argparse.SUPPRESS,
        help=f"{about}; {choices}, or the dotted path of a class (default: {name})".replace(
            "%", "%%"
        ),
    )
    if part is None:
        return
    for option in read_options(parts.resolve(kind, name), parts.options(kind, name)):
        _add(group, f"{kind}.{option.name}", option, part.options, known)


def _add_section(
    parser: ArgumentParser, section: str, given: Mapping[str, Any], known: dict[str, Option]
) -> None:
    functions: dict[str, Callable[..., Any]] = {"fit": fit, "evaluate": evaluate}
    function = functions[section]
    parameters = inspect.signature(function).parameters
    group = parser.add_argument_group(section)
    for option in read_options(function, {key: parameters[key] for key in SECTIONS[section]}):
        _add(group, f"{section}.{option.name}", option, given, known)


def _add(
    group: Any, key: str, option: Option, given: Mapping[str, Any], known: dict[str, Option]
) -> None:
    known[key], default = option, option.default
    if option.name in given:
        default = typed(key, option, given[option.name])
    settings = {"default": default, "help": option.help.replace("%", "%%"), "type": option.type}
    if default is inspect.Parameter.empty:
        settings |= {"default": argparse.SUPPRESS, "help": settings["help"] + " (must be given)"}
    elif not is_plain(default):  # such as a function: the class has it, and no file of options can
        settings |= {"default": argparse.SUPPRESS}
    try:
        group.add_argument(f"--{key}", **settings)
    except ValueError:  # a type that cannot be written on a command line
        group.add_argument(f"--{key}", **{**settings, "type": Any})


def _pop(known: Mapping[str, Option], prefix: str, found: Namespace) -> dict[str, Any]:
    """The options of a part or section, taken out of what was found."""
    own = [key for key in known if key.startswith(f"{prefix}.") and key in found]
    return {key.partition(".")[2]: found.pop(key) for key in own}


def _parse_words(
    parser: ArgumentParser, arguments: Sequence[str], known: Mapping[str, Option], begun: Config
) -> Namespace:
    """Parse, and turn what the parser says of a mistake into one sentence."""
    for word in arguments:
        key = word.removeprefix("--").partition("=")[0]
        if word.startswith("--") and "." in key and key.removesuffix("+") not in known:
            raise ValueError(_unknown(word, parser, begun))
    try:
        return parser.parse_args(list(arguments))
    except argparse.ArgumentError as error:
        raise ValueError(_sentence(str(error), parser, known, begun)) from error


def _sentence(
    message: str, parser: ArgumentParser, known: Mapping[str, Option], begun: Config
) -> str:
    unknown = re.search(r"unrecognized arguments: (\S+)", message, re.IGNORECASE)
    if unknown:
        return _unknown(unknown[1], parser, begun)
    wrong = re.search(r'[Kk]ey "([^"]+)"', message)
    value = re.search(r"(?:Got value|Given value): (.*)", message)
    if wrong:
        plain = re.search(r"Expected a <class '(\w+)'>", message)
        expected = {"int": "a whole number", "float": "a number"}.get(plain[1] if plain else "", "")
        if wrong[1] in known:
            expected = words(known[wrong[1]].type)
        if expected:
            return f"--{wrong[1]} must be {expected}" + (f"; got {value[1]}." if value else ".")
    return " ".join(message.split())


def _unknown(word: str, parser: ArgumentParser, begun: Config) -> str:
    """The sentence that refuses an argument, and says which ones there are."""
    key = word.removeprefix("--").partition("=")[0]
    kind, _, name = key.partition(".")
    offered = [f"--{action.dest}" for action in parser._actions if action.option_strings]
    if name and kind in PART_KINDS and f"--{kind}" in offered:
        part = getattr(begun, kind)
        if part is None:
            return f"There is no {kind}: choose one with --{kind} NAME before setting its {name!r}."
        return parts.unknown_option(kind, part.name, name, parts.options(kind, part.name))
    guess = parts.did_you_mean(f"--{key}", offered)
    return f"Unknown argument {word!r}{guess} See {parser.prog} --help."
