"""`deploy/containers/Containerfile` as an engine reads it, and what an image says of itself."""

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from support.containers.container import ROOT, Mount

FILE: Final = ROOT / "deploy" / "containers" / "Containerfile"
_STAGE: Final = re.compile(r"(?P<base>\S+)(?: AS (?P<name>\S+))?")


@dataclass(frozen=True)
class Instruction:
    """One instruction, its continued lines joined."""

    word: str
    rest: str


@dataclass
class Stage:
    """A stage of the build."""

    name: str
    base: str
    instructions: list[Instruction] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Image:
    """What a container inherits from its image; a stand-in adds mounts."""

    entrypoint: Sequence[str] = ()
    command: Sequence[str] = ()
    environment: dict[str, str] = field(default_factory=dict)
    user: str = "0:0"
    working_dir: str = "/"
    mounts: Sequence[Mount] = ()


def instructions(text: str) -> list[Instruction]:
    """Return the instructions of a Containerfile."""
    plain = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", " ", plain)
    found = []
    for line in filter(str.strip, joined.splitlines()):
        word, _, rest = line.strip().partition(" ")
        found.append(Instruction(word.upper(), rest.strip()))
    return found


def stages(file: Path = FILE) -> dict[str, Stage]:
    """Return the stages of a Containerfile by name."""
    found: dict[str, Stage] = {}
    for each in instructions(file.read_text()):
        if each.word == "FROM":
            match = _STAGE.fullmatch(each.rest)
            assert match, each.rest
            stage = Stage(match["name"] or str(len(found)), match["base"])
            found[stage.name] = stage
        elif found:
            stage.instructions.append(each)
    return found


def lineage(target: str) -> list[Stage]:
    """Return the stages that a target is made of, the first one first."""
    all_stages = stages()
    line = [all_stages[target]]
    while line[0].base in all_stages:
        line.insert(0, all_stages[line[0].base])
    return line


def image(target: str, path: str) -> Image:
    """Return what the image of a target says of itself.

    Args:
        target: The stage.
        path: What PATH is before the image adds to it.
    """
    said = {each.word: each.rest for stage in lineage(target) for each in stage.instructions}
    environment = {"PATH": path}
    for stage in lineage(target):
        for each in stage.instructions:
            if each.word == "ENV":
                for pair in shlex.split(each.rest):
                    name, _, value = pair.partition("=")
                    environment[name] = value.replace("${PATH}", path)
    return Image(
        entrypoint=json.loads(said["ENTRYPOINT"]),
        command=json.loads(said["CMD"]),
        environment=environment,
        user=said["USER"],
        working_dir=said["WORKDIR"],
    )
