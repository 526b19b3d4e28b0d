import json
import re
import tomllib
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Final

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydicom.uid import UID
from support.command_blocks import code_blocks

from service.crash_points import CrashPoint
from service.receiving.listener.application_entity import application_entity
from service.settings import (
    SHIPPED_BUNDLE,
    DimseDestination,
    EmailDestination,
    FhirDestination,
    Hl7Destination,
    Section,
    Settings,
    WebDestination,
    WebhookDestination,
    read_settings,
)
from service.settings.environment import CRASH_VARIABLE

ROOT: Final = Path(__file__).resolve().parents[3]
PAGE: Final = ROOT / "docs" / "configuration.md"
EXAMPLE: Final = ROOT / "deploy" / "lobar.example.toml"
PAGES: Final = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


@pytest.fixture
def read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, no_settings: None
) -> Callable[[str], Settings]:
    """Read a configuration file that holds this text, and nothing else."""
    del no_settings

    def read_text(text: str) -> Settings:
        file = tmp_path / "lobar.toml"
        file.write_text(text)
        monkeypatch.setenv("LOBAR_CONFIG", str(file))
        return read_settings()

    return read_text


KINDS: Final = (
    *(DimseDestination, WebDestination, WebhookDestination),
    *(Hl7Destination, FhirDestination, EmailDestination),
)
OF_EACH_KIND: Final = {"kind", "outputs", "associations"}  # with a default that is said there


def fields(model: type[BaseModel], section: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Walk the tree of settings: each leaf by its dotted name."""
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Section):
            yield from fields(inner, f"{name}.")
        else:
            yield section + name, field


def written(field: FieldInfo) -> str:
    """Return a default as the page writes it, in TOML notation."""
    if field.is_required():
        return "required"
    match field.default:
        case None:
            return "none"
        case Path() as path:
            return json.dumps(str(path.relative_to(ROOT) if path == SHIPPED_BUNDLE else path))
        case tuple() as values:
            return json.dumps([v if isinstance(v, StrEnum) else UID(v).keyword for v in values])
        case value:
            return json.dumps(value)


def documented() -> dict[str, tuple[str, str, str]]:
    """Read the page's tables: variable, default and meaning by setting."""
    rows = re.findall(
        r"^\| `([a-z_.]+)` \| (.*?) \| (.*?) \| (.*) \|$", PAGE.read_text(), re.MULTILINE
    )
    assert len({name for name, *_ in rows}) == len(rows), "a setting is documented twice"
    return {name: (variable, default, meaning) for name, variable, default, meaning in rows}


def in_code() -> dict[str, tuple[str, str]]:
    settings = {
        name: (f"`LOBAR_{name.replace('.', '__').upper()}`", written(field))
        for name, field in fields(Settings)
    }
    members: dict[str, tuple[str, str]] = {}
    for kind in KINDS:
        for name, field in fields(kind):
            member = ("in the JSON", written(field))
            first = members.setdefault(f"destinations.{name}", member)
            assert first == member or name in OF_EACH_KIND, f"{name} has two defaults"
    return settings | members


def test_every_setting_is_documented_and_none_that_is_gone() -> None:
    assert documented().keys() == in_code().keys()


@pytest.mark.parametrize("name", in_code())
def test_a_setting_is_documented_with_its_variable_its_default_and_a_meaning(name: str) -> None:
    variable, default, meaning = documented()[name]
    assert (variable, default.strip("`")) == in_code()[name]
    assert meaning.endswith(".")


def test_every_variable_that_is_named_anywhere_is_one() -> None:
    known = {variable.strip("`") for variable, _ in in_code().values()}
    known |= {"LOBAR_CONFIG", CRASH_VARIABLE}
    for page in PAGES:
        named = set(re.findall(r"LOBAR_[A-Z_]*[A-Z]", page.read_text()))
        assert named <= known, page.name


def test_every_setting_that_is_named_anywhere_is_one() -> None:
    names = set(in_code()) | set(CrashPoint)  # which are written alike
    sections = {name.split(".")[0] for name in names if "." in name}
    for page in PAGES:
        spans = re.findall(r"`([a-z]+\.[a-z_]+)`", page.read_text())
        modules = {"py", "toml", "md", "sqlite3", "json"}
        named = {each for each in spans if each.split(".")[0] in sections}
        assert {each for each in named if each.split(".")[1] not in modules} <= names, page.name


def test_the_example_can_be_used(read: Callable[[str], Settings]) -> None:
    settings = read(EXAMPLE.read_text())
    kinds = [type(each) for each in settings.destinations]
    expected: list[type] = [DimseDestination, DimseDestination, WebDestination, WebhookDestination]
    assert kinds == expected
    assert application_entity(settings.dicom).require_calling_aet == ["ARCHIVE", "ROUTER"]


def test_what_the_example_has_in_comments_can_be_used(read: Callable[[str], Settings]) -> None:
    plain = EXAMPLE.read_text()
    uncommented = re.sub(r"^# (?=[a-z_]+ = )", "", plain, flags=re.MULTILINE)
    assert uncommented.count("\n# ") < plain.count("\n# ")
    assert read(uncommented).redis.url is not None


def test_every_configuration_on_a_page_can_be_used(read: Callable[[str], Settings]) -> None:
    texts = [
        block.content
        for page in PAGES
        for block in code_blocks(page)
        if block.info.strip() == "toml"
    ]
    assert len(texts) > 10
    for text in texts:
        assert read(text) != read(""), text


def test_destinations_in_the_environment_are_those_in_the_file(
    read: Callable[[str], Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = PAGE.read_text()
    (variable,) = re.findall(r"^LOBAR_DESTINATIONS='(.*)'$", page, re.MULTILINE)
    (text,) = re.findall(r"^```toml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    in_the_file = read(text).destinations
    assert tomllib.loads(text)["destinations"] == json.loads(variable)
    monkeypatch.setenv("LOBAR_DESTINATIONS", variable)
    assert read("").destinations == in_the_file
