"""A whole service with synthetic instances, users and sessions, for the tests of the pages."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from argon2 import PasswordHasher
from peers.browser import Look, Notes, looking
from peers.dcmtk import StoreSCP, dcmtk_store
from playwright.sync_api import Browser, Page
from pydicom import dcmread
from pydicom.dataset import Dataset
from synthetic.objects import make_cr

from service.domain.job import Job, JobState
from service.domain.user import Role
from service.storage.ledger import Ledger
from service.web.access import SESSION_COOKIE
from support.lobar_process import LobarService, destination, wait_for
from support.pages import PageCase

ROOT: Final = Path(__file__).resolve().parents[2]
SAMPLES: Final = ROOT / "service" / "demo" / "samples"
SESSION_SECONDS: Final = 86_400


@dataclass(slots=True)
class Opened:
    """A page in a browser, with what went wrong on it."""

    page: Page
    notes: Notes


class PagesService:
    """A service that delivers findings to a PACS, and reports without one to an archive.

    The archive does not answer until `archive.start()`, so a job whose model refused is parked.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.pacs, self.archive = (StoreSCP(_made(folder / name)) for name in ("pacs", "archive"))
        refused = destination(self.archive, "archive", outcomes=["not_analysed"], outputs=["sr"])
        self.lobar = LobarService(
            _made(folder / "lobar"),
            [destination(self.pacs, "pacs"), refused],
            LOBAR_DELIVER__GIVE_UP_DAYS="0.00002",
            LOBAR_DELIVER__BACKOFF_SECONDS="0.2",
            TZ="UTC",
        )
        self.url = self.lobar.url
        self.ids: dict[str, str] = {}
        self._sessions: dict[str, str] = {}

    def start(self) -> Self:
        """Start everything, store the samples, and wait for each outcome."""
        self.pacs.start()
        self.lobar.start()
        samples = [dcmread(path) for path in sorted(SAMPLES.glob("*.dcm"))]
        self.store(*samples)
        jobs = [self.lobar.settled(each.SOPInstanceUID) for each in samples]
        self.ids = {str(job.finding): job.id for job in reversed(jobs)}
        self.ids["parked"] = self.store_knee()
        return self

    def kill(self) -> None:
        """Stop everything."""
        for each in (self.lobar, self.pacs, self.archive):
            each.kill()

    def store(self, *instances: Dataset) -> None:
        """Store instances with DCMTK's storescu."""
        files = []
        for number, instance in enumerate(instances):
            files.append(self._folder / f"{number}.dcm")
            instance.save_as(files[-1], enforce_file_format=True)
        sent = dcmtk_store(self.lobar.dicom_port, self.lobar.ae_title, files)
        assert sent.returncode == 0, sent.stderr

    def store_knee(self) -> str:
        """Store a radiograph of a knee, which the model refuses, and return its job's id."""
        knee = make_cr(patient_name="Knee^Carl")
        knee.BodyPartExamined = "KNEE"
        self.store(knee)
        return self.lobar.settled(knee.SOPInstanceUID).id

    def job(self, job_id: str) -> Job:
        """Return a job as the ledger holds it."""
        with closing(self.lobar.ledger()) as ledger:
            found = ledger.queries.job(job_id)
        assert found is not None
        return found

    def wait_for_state(self, job_id: str, state: JobState) -> None:
        """Wait until a job is in a state."""
        wait_for(lambda: self.job(job_id).state == state)

    def add_user(self, name: str, role: Role, password: str) -> None:
        """Add a user with a password."""
        with closing(self.lobar.ledger()) as ledger:
            ledger.users.add(name, role, PasswordHasher().hash(password))

    def audited(self) -> list[str]:
        """List what the audit trail holds, as `ACTION USER`, the oldest first."""
        with closing(self.lobar.ledger()) as ledger:
            records = ledger.audit.recent(1000)
        return [f"{each.action} {each.user}" for each in reversed(records)]

    def cookies(self, role: Role) -> list[dict[str, str]]:
        """Make a user of a role with a session, once, and return what a browser sends."""
        name = str(role)
        if name not in self._sessions:
            with closing(self.lobar.ledger()) as ledger:
                self._sessions[name] = _begin_session(ledger, name, role)
        return [{"name": SESSION_COOKIE, "value": self._sessions[name], "url": self.url}]

    def address(self, case: PageCase) -> str:
        """Return the address of a page of the table."""
        return self.url + case.path.format(**self.ids)

    @contextmanager
    def opened(self, browser: Browser, case: PageCase, look: Look) -> Iterator[Opened]:
        """Open a page of the table as the person who looks at it."""
        with self.seen_by(browser, case.role, look) as opened:
            answer = opened.page.goto(self.address(case))
            assert answer is not None
            assert answer.status == case.status
            opened.notes.complaints = [
                each
                for each in opened.notes.complaints
                if each != f"{case.status} {self.address(case)}"  # it is what was asked for
            ]
            yield opened

    @contextmanager
    def seen_by(self, browser: Browser, role: Role | None, look: Look) -> Iterator[Opened]:
        """Open a browser in which somebody of a role is signed in, without any page."""
        cookies = self.cookies(role) if role else []
        with looking(browser, look, cookies) as context:
            page = context.new_page()
            yield Opened(page, Notes(page, self.url))


@contextmanager
def running_pages_service(folder: Path) -> Iterator[PagesService]:
    """Run the service while the block runs."""
    service = PagesService(folder)
    try:
        yield service.start()
    finally:
        service.kill()


def _begin_session(ledger: Ledger, name: str, role: Role) -> str:
    if ledger.users.find(name) is None:
        ledger.users.add(name, role, password_hash=None)
    return ledger.sessions.begin(name, seconds=SESSION_SECONDS)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
