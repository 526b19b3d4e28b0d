"""What `lobar check` learns from a destination and from the bundle."""

from pathlib import Path

import pytest
from peers.ports import free_port
from scripted_pacs import EXPLICIT, IMPLICIT, SC, SR, ScriptedPacs

from service.settings import Settings
from workers.check import DestinationError, echo, load_bundle

# pynetdicom forgets the socket of a connection that failed
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


def asked(peer: ScriptedPacs, **changes: object) -> str:
    address = {"name": "pacs", "ae_title": "SCRIPTED", "host": "127.0.0.1", "port": peer.port}
    options = {"connect_seconds": 2, "response_seconds": 20}
    settings = Settings(destinations=[{**address, **options, **changes}])
    return echo(settings, settings.destinations[0])


def refused(peer: ScriptedPacs, **changes: object) -> str:
    with pytest.raises(DestinationError) as raised:
        asked(peer, **changes)
    assert f"{changes.get('ae_title', 'SCRIPTED')} at " in str(raised.value)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_destination_tells_what_it_would_take() -> None:
    with ScriptedPacs().running() as peer:
        said = asked(peer)
    assert said.endswith(
        "answers C-ECHO and takes Comprehensive 3D SR Storage, Comprehensive SR Storage, "
        "Secondary Capture Image Storage"
    )
    with ScriptedPacs(takes=[(SR, IMPLICIT), (SC, EXPLICIT)]).running() as peer:
        assert "3D" not in asked(peer)


def test_what_is_wrong_with_a_destination_is_told_apart() -> None:
    assert "no connection" in refused(ScriptedPacs(port=free_port()))
    assert "no name service knows its host" in refused(
        ScriptedPacs(port=104), host="no-such-host.invalid"
    )
    with ScriptedPacs().running() as peer:
        assert "Does it know our AE title" in refused(peer, ae_title="OTHER")
    with ScriptedPacs(takes=[]).running() as peer:
        assert "takes none of our objects" in refused(peer)
    with ScriptedPacs(echoes=False).running() as peer:
        assert "does not accept C-ECHO" in refused(peer)
    with ScriptedPacs(takes=[("1.2.840.10008.5.1.4.1.1.2", EXPLICIT)], echoes=False).running() as p:
        assert "none of our objects and no C-ECHO" in refused(p)


def test_a_bundle_that_is_none_says_what_to_set(tmp_path: Path) -> None:
    first, *_ = load_bundle(Settings(bundle={"path": tmp_path}))
    assert (first.subject, first.severity) == ("bundle", 2)
    assert "not a bundle" in first.message
    assert "bundle.path" in first.message
