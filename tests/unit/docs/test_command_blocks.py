"""Every block of commands on the pages is run by a test, or says that it is not and why.

The rule for a page: docs/developing.md#commands-on-the-pages.
"""

import re
import shlex
import subprocess
from pathlib import Path
from typing import Final

import pytest
from support.command_blocks import (
    PAGES,
    ROOT,
    CommandBlock,
    code_blocks,
    command_blocks,
    commands,
    run_here,
)
from support.system.programs import need_program

PLACES: Final = {"dry", "folder", "service", "orthanc"}
BLOCKS: Final = [block for page in PAGES for block in command_blocks(page)]
SOURCES: Final = ("tests", "monai_bundle", ".")
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
every_block = pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.place)


@pages
def test_every_block_of_code_is_fenced_and_names_its_language(page: Path) -> None:
    for block in code_blocks(page):
        line = block.map[0] + 1 if block.map else 0
        assert block.type == "fence", f"{line}: indented; write it between ``` lines"
        assert block.info.strip(), f"{line}: name the language: sh, toml, json, text …"


@every_block
def test_every_block_of_commands_says_who_runs_it(block: CommandBlock) -> None:
    if block.kind == "run":
        assert block.words in PLACES, block.words
    elif block.kind == "run by":
        test = ROOT / block.words
        assert test.is_file(), f"no test {block.words}"
        assert block.words.startswith("tests/")
        assert test.name.startswith("test_"), block.words
        named = str(block.page.relative_to(ROOT))
        text = test.read_text()
        assert named in text or f'"{block.page.name}"' in text, f"{test.name}: name {named} in it"
    else:
        assert block.kind == "not run", (
            "write above it <!-- run: PLACE -->, <!-- run by: tests/… --> or "
            "<!-- not run: REASON -->"
        )
        assert len(block.words) >= len("it needs a cluster")


def test_the_marks_are_read_as_they_are_written(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- run: folder -->\n```sh\na \\\n  b  # why\n# alone\n```\n\n"
        "1. x\n\n    <!-- not run: it needs a cluster -->\n    ```sh\n    c#d\n    ```\n\n"
        "```console\n$ e\nanswer\n```\n\n```text\nf\n```\n\n    indented\n"
    )
    found = [(each.kind, each.words, commands(each.text)) for each in command_blocks(page)]
    assert found == [
        ("run", "folder", ["a b"]),
        ("not run", "it needs a cluster", ["c#d"]),
        ("", "", ["e"]),
    ]
    assert [each.type for each in code_blocks(page)][-1] == "code_block"


@pytest.mark.parametrize("block", run_here("dry"), ids=lambda block: block.place)
def test_what_takes_long_is_known_to_make_or_a_module(block: CommandBlock) -> None:
    need_program("make")
    for command in commands(block.text):
        words = [each for each in shlex.split(command) if not re.match("[A-Z]+=", each)]
        if command.startswith("make"):
            dry = ["make", "--dry-run", *shlex.split(command)[1:]]
            done = subprocess.run(dry, cwd=ROOT, capture_output=True, text=True, check=False)
            assert (done.returncode, done.stderr) == (0, ""), command
        else:
            assert (Path(words[0]).name, words[1]) == ("python", "-m"), command
            module = words[2].replace(".", "/")
            assert any(
                (ROOT / source / f"{module}{end}.py").is_file()
                for source in SOURCES
                for end in ("", "/__main__")
            ), words[2]


FOLDERS: Final = list(dict.fromkeys(block.page for block in run_here("folder")))


@pytest.mark.parametrize("page", FOLDERS, ids=lambda page: page.name)
def test_the_commands_of_a_page_work_one_after_the_other_in_a_folder(
    page: Path, tmp_path: Path
) -> None:
    """The folder has the repository's deploy, and stands for the root of the machine."""
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    (tmp_path / "etc/prometheus").mkdir(parents=True)
    blocks = [block for block in run_here("folder") if block.page == page]
    for block in blocks:
        for program in {"openssl", "promtool"} & set(block.text.split()):
            need_program(program)
        text = block.text.replace("/etc/", f"{tmp_path}/etc/")
        done = subprocess.run(
            [need_program("bash"), "-euo", "pipefail", "-c", text],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{block.place}\n{done.stdout}{done.stderr}"
