"""The page of one instance, and what a person may do with its job."""

import re
from dataclasses import replace

import httpx
from pydicom import Dataset, dcmread
from support.purged import purge_finished
from support.reported_job import deliver, receive, report
from support.web_server import Web
from synthetic.report_sources import MODEL, predicted

from service.domain.audit import Action
from service.domain.job import Job, JobState
from service.domain.patient import Patient
from service.domain.reasons import EXPLANATIONS, Reason
from service.domain.user import Role
from workers.prediction import Finding, NotAnalysed
from workers.reporting.uids import OutputIdentity, Predecessor

JANE = Patient(
    patient_name="Doe^Jane^Mary^Dr=山田^花子",
    patient_id="PID-4711",
    birth_date="20230115",
    sex="F",
    accession_number="ACC-12",
    study_date="20260504",
    modality="DX",
    view_position="PA",
)


def job_of(web: Web, job_id: str) -> Job:
    job = web.ledger.queries.job(job_id)
    assert job is not None
    return job


def reported(web: Web, patient: Patient | None = JANE, finding: Finding = Finding.PRESENT) -> str:
    job_id = receive(web, patient)
    report(web, job_id, predicted(finding))
    return job_id


def parked(web: Web, reason: Reason = Reason.REPORT_FAILED) -> str:
    job_id = receive(web, JANE)
    (job,) = web.ledger.jobs.lease("test/", 1, lease_seconds=60, maximum_attempts=3)
    web.ledger.jobs.park(job, reason)
    return job_id


def page(client: httpx.Client, job_id: str) -> str:
    answer = client.get(f"/jobs/{job_id}")
    assert answer.status_code == 200
    return answer.text


def form(client: httpx.Client, path: str, **fields: str) -> httpx.Response:
    return client.post(path, data=fields)


def test_who_may_see_patients_reads_the_name_as_people_write_it(web: Web) -> None:
    job_id = reported(web)
    shown = page(web.sign_in(Role.VIEWER), job_id)
    for text in (
        *(
            "Doe, Dr Jane Mary (山田, 花子)",
            "PID-4711",
            "born 2023-01-15, 3 years old at the study",
        ),
        *("female", "2026-05-04", "DX", "view PA", "ACC-12"),
    ):
        assert text in shown


def test_who_may_not_see_patients_reads_why(web: Web) -> None:
    job_id = reported(web)
    shown = page(web.client, job_id)
    assert "there is no user yet" in shown
    operator = page(web.sign_in(Role.OPERATOR), job_id)
    assert "your role, operator, does not include patient data" in operator
    for text in (shown, operator):
        for secret in (
            "Doe",
            "山田",
            "PID-4711",
            "2023-01-15",
            "ACC-12",
            "Imaging Measurement Report",
        ):
            assert secret not in text
        assert "/outputs/" not in text


def test_both_findings_and_the_population_are_shown(web: Web) -> None:
    for finding in Finding:
        for other in Finding:
            job_id = receive(web)
            conclusion = replace(predicted(finding, other=other), population="school_children")
            report(web, job_id, conclusion)
            shown = page(web.client, job_id)
            badge = '<span class="badge finding-{0}">{0}</span>'
            assert f"<h1>Pneumonia {badge.format(finding)}" in shown
            assert f"Another abnormality {badge.format(other)} 0." in shown
            assert "<dt>Population</dt><dd>school_children</dd>" in shown


def test_a_model_that_reads_pneumonia_alone_shows_that_alone(web: Web) -> None:
    shown = page(web.client, reported(web))
    for absent in ("Another abnormality <", "Population", "Revision"):
        assert absent not in shown
    assert "was not looked for in this film" in shown


def test_deliveries_are_listed_with_their_status_and_a_job_in_flight_reloads(web: Web) -> None:
    job_id = reported(web)
    (delivery,) = web.ledger.deliveries.lease("pacs", "test/", 1, lease_seconds=60)
    web.ledger.deliveries.refused(delivery, status=0xA700, again_in=60)
    shown = page(web.client, job_id)
    table = shown[shown.index("<h2>Deliveries</h2>") :]
    for text in ("pacs", "pending", "0xA700 Failure: Refused: Out of Resources", "MODALITY"):
        assert text in table
    assert 'http-equiv="refresh"' in shown
    web.ledger.deliveries.close_breaker("pacs")
    with web.ledger._database.write() as connection:
        connection.exec_driver_sql("UPDATE deliveries SET due_at = 0")
    deliver(web)
    assert 'http-equiv="refresh"' not in page(web.client, job_id)


def test_what_is_not_a_job_is_not_found(empty_web: Web) -> None:
    for job_id in ("0123456789abcdef" * 2, "0", "%00", "..%2f..%2fetc%2fpasswd", "A" * 5000, "'--"):
        assert empty_web.client.get(f"/jobs/{job_id}").status_code == 404
        for action in ("requeue", "reanalyse", "dismiss"):
            answer = form(empty_web.client, f"/jobs/{job_id}/{action}", reason="a test")
            assert answer.status_code == 404
        answer = empty_web.client.get(f"/api/jobs/{job_id}")
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"


def test_a_parked_job_is_requeued(web: Web) -> None:
    job_id = parked(web)
    shown = page(web.client, job_id)
    assert "No valid report could be built for this instance." in shown
    assert f'action="/jobs/{job_id}/requeue"' in shown
    answer = web.client.post(f"/jobs/{job_id}/requeue")
    assert (answer.status_code, answer.headers["location"]) == (
        303,
        f"/jobs/{job_id}?done=requeued",
    )
    assert job_of(web, job_id).state is JobState.RECEIVED
    assert "/requeue" not in page(web.client, job_id)


def test_the_page_says_what_was_done_in_words_of_its_own_alone(web: Web) -> None:
    job_id = reported(web)
    for done, words in (
        ("requeued", "The job was requeued."),
        ("reanalysed", "Another analysis was asked for."),
        ("dismissed", "The job was dismissed."),
    ):
        shown = web.client.get(f"/jobs/{job_id}", params={"done": done}).text
        assert f'<p class="notice" role="status">{words}</p>' in shown
    for other in ("", "deleted", "<b>Call 555</b>"):
        shown = web.client.get(f"/jobs/{job_id}", params={"done": other}).text
        assert 'class="notice"' not in shown
        assert "Call 555" not in shown


def test_an_instance_without_a_patient_says_so(web: Web) -> None:
    shown = page(web.sign_in(Role.VIEWER), reported(web, Patient()))
    assert "The header of this instance names no patient." in shown
    assert "None was received with this Patient ID" in shown


def test_a_patient_whom_an_earlier_version_did_not_record_is_not_said_to_be_missing(
    web: Web,
) -> None:
    shown = page(web.sign_in(Role.VIEWER), reported(web, None))
    assert "an earlier version of Lobar received this instance" in shown
    assert "names no patient" not in shown


def test_markup_in_a_patient_s_name_is_text(web: Web) -> None:
    patient = replace(
        JANE, patient_name="<script>alert(1)</script>^<b>", patient_id='"><img src=x>'
    )
    shown = page(web.sign_in(Role.VIEWER), reported(web, patient))
    assert "<script>alert" not in shown
    assert "<img src=x" not in shown
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in shown


def test_the_probability_is_on_a_scale_whose_words_say_the_same(web: Web) -> None:
    shown = page(web.client, reported(web))
    words = " ".join(re.sub("<[^>]+>", "", shown).split())
    assert "Probability of pneumonia 0.873, on a scale from 0 to 1." in words
    assert "At the operating point balanced it reads present from 0.500." in words
    assert "Between 0.400 and 0.600 the model abstains" in words
    (scale,) = re.findall(r"<svg class=\"scale.*?</svg>", shown, re.DOTALL)
    assert 'class="band" x="406.0"' in scale
    assert 'class="threshold" x1="500.0"' in scale
    assert f'class="value" cx="{30 + 940 * 0.8732145:.1f}"' in scale
    assert "style=" not in shown


def test_a_threshold_that_was_not_recorded_is_not_invented(web: Web) -> None:
    job_id = receive(web)
    report(web, job_id, predicted(other=Finding.PRESENT))
    shown = page(web.client, job_id)
    _, other = re.findall(r"<svg class=\"scale.*?</svg>", shown, re.DOTALL)
    assert "threshold" not in other
    assert "whose threshold was not recorded" in shown
    assert "not what or where" in shown


def test_each_finding_says_what_it_does_not_mean(web: Web) -> None:
    for finding, caution in (
        (Finding.PRESENT, "It does not prove a pneumonia"),
        (Finding.ABSENT, "does not say that the radiograph is normal"),
        (Finding.INDETERMINATE, "neither that pneumonia shows nor that it does not"),
    ):
        shown = page(web.client, reported(web, finding=finding))
        assert caution in shown
        disclaimer = "<strong>Not a medical device. For research use only.</strong>"
        assert shown.index("<h1>") < shown.index(disclaimer) < shown.index("<h2>Finding</h2>")
        assert 'href="/model"' in shown


def test_how_often_it_is_right_is_said_of_the_configured_model_alone(web: Web) -> None:
    of_children = replace(predicted(), population="children")
    other_model = receive(web)
    report(web, other_model, of_children)
    shipped = replace(MODEL, name="lobar_pneumonia", version="0.3.0")
    job_id = receive(web)
    report(web, job_id, replace(predicted(model=shipped), population="children"))
    said = "Of 100 films of children without pneumonia 1 is called present; of 100 with it 95 are"
    assert said in page(web.client, job_id)
    assert "Of 100 films" not in page(web.client, other_model)
    assert "not validated for" not in page(web.client, job_id)
    adult = receive(web)
    report(web, adult, replace(predicted(model=shipped), population="adults"))
    assert "The model is not validated for adults." in page(web.client, adult)


def test_the_model_card_is_that_of_the_configured_bundle(web: Web) -> None:
    card = web.client.get("/model")
    assert card.status_code == 200
    assert "lobar_pneumonia 0.3.0" in card.text
    assert "Children of one to five years are validated, adults are not." in card.text


def test_an_instance_that_was_not_analysed_says_why_and_what_to_do(web: Web) -> None:
    job_id = receive(web, JANE)
    report(web, job_id, NotAnalysed(reason=Reason.TURNED, model=MODEL))
    deliver(web)
    shown = page(web.sign_in(Role.VIEWER), job_id)
    assert EXPLANATIONS[Reason.TURNED] in shown
    assert "Have it turned upright where the instance is made" in shown
    assert "Nothing is said about pneumonia" in shown
    assert "Diagnostic Imaging Report" in shown
    assert "There is no finding to agree or disagree with." in shown


def test_the_text_of_the_report_is_shown_as_its_object_says_it(web: Web) -> None:
    shown = page(web.sign_in(Role.VIEWER), reported(web))
    assert "<h3>Imaging Measurement Report</h3>" in shown
    assert "complete, unverified" in shown
    assert "<h4>Imaging Measurements</h4>" in shown
    assert "Certainty of Finding: <b>87.3 %</b>" in shown
    # what was found first, then all of it in the order of the object
    places = [
        shown.index(part)
        for part in ("Finding: <b>Pneumonia", "Certainty of Finding", "All items", "Observer Type")
    ]
    assert places == sorted(places)
    assert shown.index("Observer Type") < shown.index("<h4>Image Library</h4>")
    assert shown.count("<ul") == shown.count("</ul>")


def test_markup_in_a_report_is_text(web: Web) -> None:
    job_id = receive(web, JANE)
    uid = report(web, job_id, predicted())
    path = web.spool.outbox(job_id, "sr", uid)
    dataset = dcmread(path)
    note = Dataset()
    note.ValueType, note.RelationshipType = "TEXT", "CONTAINS"
    note.TextValue = "</ul><script>alert(1)</script>"
    dataset.ContentSequence.append(note)
    dataset.save_as(path)
    shown = page(web.sign_in(Role.VIEWER), job_id)
    assert "&lt;/ul&gt;&lt;script&gt;alert(1)&lt;/script&gt;" in shown
    assert "<script>alert" not in shown


def test_a_timeline_of_many_steps_folds_those_in_the_middle(web: Web) -> None:
    job_id = reported(web)
    for number in range(150):
        with web.ledger._database.write() as connection:
            connection.exec_driver_sql("UPDATE deliveries SET due_at = 0, holder = NULL")
        (delivery,) = web.ledger.deliveries.lease("pacs", "test/", 1, lease_seconds=60)
        web.ledger.deliveries.unreached(
            delivery, again_in=60, why=("unreachable", "timeout")[number % 2]
        )
    shown = page(web.client, job_id)
    assert shown.count("<code>output-postponed</code>") == 150
    assert "<summary>33 steps between</summary>" in shown


def test_a_destination_that_is_not_reached_again_and_again_is_one_step(web: Web) -> None:
    job_id = reported(web)
    for _ in range(5):
        with web.ledger._database.write() as connection:
            connection.exec_driver_sql("UPDATE deliveries SET due_at = 0, holder = NULL")
        (delivery,) = web.ledger.deliveries.lease("pacs", "test/", 1, lease_seconds=60)
        web.ledger.deliveries.unreached(delivery, again_in=60, why="unreachable")
    shown = page(web.client, job_id)
    timeline = shown[shown.index('<ol class="timeline">') : shown.index("</ol>")]
    assert timeline.count("<code>output-postponed</code>") == 1
    assert "The destination was not reached, 5 times, sr to pacs" in timeline
    assert "unreachable" in timeline


def test_a_report_whose_bytes_are_gone_or_damaged_says_so(web: Web) -> None:
    viewer = web.sign_in(Role.VIEWER)
    job_id = receive(web, JANE)
    uid = report(web, job_id, predicted())
    path = web.spool.outbox(job_id, "sr", uid)
    path.write_bytes(b"not DICOM")
    assert "The output is not a DICOM file." in page(viewer, job_id)
    path.unlink()
    assert "its text with them: retention removed them" in page(viewer, job_id)


def revised(web: Web) -> tuple[str, str, str]:
    """A job whose report was replaced after a reanalysis by another model; both reports' UIDs."""
    job_id = receive(web, JANE)
    first = report(web, job_id, predicted(Finding.ABSENT))
    deliver(web)
    (revision,) = web.ledger.queries.revisions(job_of(web, job_id))
    web.ledger.jobs.reanalyse(job_id)
    identity = OutputIdentity(
        predecessor=Predecessor(
            sop_class_uid=revision.sop_class_uid,
            sop_instance_uid=first,
            series_instance_uid=revision.series_instance_uid,
        )
    )
    second = report(
        web,
        job_id,
        predicted(model=replace(MODEL, version="1.3.0")),
        identity=identity,
        predecessor=revision.id,
    )
    return job_id, first, second


def test_revisions_say_which_they_replace_what_changed_and_what_they_said(web: Web) -> None:
    job_id, first, second = revised(web)
    shown = page(web.sign_in(Role.VIEWER), job_id)
    parts = ("Revision 1 of 2", first, "It said: absent, 0.032", "Revision 2 of 2", second)
    places = [shown.index(part, shown.index("<h3>Revisions</h3>")) for part in parts]
    assert places == sorted(places)
    for change in (
        "replaces revision 1",
        "finding: absent → present",
        "probability: 0.032 → 0.873",
        "model: lobar_pneumonia 1.2.3 → lobar_pneumonia 1.3.0",
    ):
        assert change in shown
    assert "<summary>Text of revision 1</summary>" in shown
    assert "Certainty of Finding: <b>3.2 %</b>" in shown
    assert "Certainty of Finding: <b>3.2 %</b>" not in page(web.sign_in(Role.OPERATOR), job_id)


def test_the_timeline_has_every_step_in_order_with_its_status_and_who(web: Web) -> None:
    operator = web.sign_in(Role.OPERATOR, "otto")
    job_id = parked(web)
    assert form(operator, f"/jobs/{job_id}/requeue").status_code == 303
    report(web, job_id, predicted())
    (delivery,) = web.ledger.deliveries.lease("pacs", "test/", 1, lease_seconds=60)
    web.ledger.deliveries.refused(delivery, status=0xA700, again_in=60)
    shown = page(operator, job_id)
    timeline = shown[shown.index('<ol class="timeline">') : shown.index("</ol>")]
    codes = re.findall(r"<code>([a-z_-]+)</code>", timeline)
    assert codes == [
        *("received", "leased", "parked", "requeued", "requeue"),
        *("leased", "reported", "output-refused"),
    ]
    assert "Requeue asked for, by <em>otto (operator)</em>" in timeline
    assert "0xA700 Failure: Refused: Out of Resources" in timeline
    assert "sr to pacs" in timeline
    assert timeline.count('class="after"') == len(codes) - 1


def test_a_parked_job_is_dismissed_with_a_reason_that_the_timeline_keeps(web: Web) -> None:
    operator = web.sign_in(Role.OPERATOR, "otto")
    job_id = parked(web)
    shown = page(operator, job_id)
    assert "No valid report could be built for this instance." in shown
    assert "Report it with the log" in shown
    assert '<datalist id="reasons">' in shown
    answer = form(operator, f"/jobs/{job_id}/dismiss", reason="  a <b>test</b> image\x00 ")
    assert (answer.status_code, answer.headers["location"]) == (
        303,
        f"/jobs/{job_id}?done=dismissed",
    )
    assert job_of(web, job_id).state is JobState.DISMISSED
    shown = page(operator, job_id)
    head = " ".join(re.sub("<[^>]+>", "", shown[: shown.index("<h2")]).split())
    assert "Dismissed by otto, 2" in head
    assert ": a &lt;b&gt;test&lt;/b&gt; image It was parked: No valid report could be" in head
    assert "<q><bdi>a &lt;b&gt;test&lt;/b&gt; image</bdi></q>" in shown
    assert "Dismissal asked for, by <em>otto (operator)</em>" in shown


def test_who_may_not_read_sentences_reads_when_it_was_dismissed_and_why_it_was_parked(
    web: Web,
) -> None:
    job_id = parked(web)
    form(web.client, f"/jobs/{job_id}/dismiss", reason="of Jane Doe")
    shown = page(web.client, job_id)
    assert "Jane" not in shown
    head = " ".join(re.sub("<[^>]+>", "", shown[: shown.index("<h2")]).split())
    assert "The sentence is left out: it may name the patient. It was parked: No valid" in head


def test_a_dismissal_needs_a_reason_of_a_sensible_length(web: Web) -> None:
    job_id = parked(web)
    for reason in ("", "   ", "x" * 501):
        answer = form(web.client, f"/jobs/{job_id}/dismiss", reason=reason)
        assert answer.status_code == 422
        assert "1 to 500 characters" in answer.text
    assert job_of(web, job_id).state is JobState.PARKED


def test_a_finished_job_is_analysed_again_and_one_in_flight_is_not(web: Web) -> None:
    job_id = reported(web)
    answer = form(web.client, f"/jobs/{job_id}/reanalyse")
    assert answer.status_code == 409
    assert "being analysed or delivered" in answer.text
    assert "/reanalyse" not in page(web.client, job_id)
    deliver(web)
    assert f'action="/jobs/{job_id}/reanalyse"' in page(web.client, job_id)
    assert form(web.client, f"/jobs/{job_id}/reanalyse").status_code == 303
    assert job_of(web, job_id).state is JobState.RECEIVED


def test_an_instance_without_its_bytes_is_not_analysed_again(web: Web) -> None:
    job_id = reported(web)
    deliver(web)
    assert purge_finished(web.ledger) == [job_id]
    assert "/reanalyse" not in page(web.client, job_id)
    answer = form(web.client, f"/jobs/{job_id}/reanalyse")
    assert answer.status_code == 409
    assert "Retention removed the bytes" in answer.text


def test_what_the_state_does_not_allow_is_refused_in_words(web: Web) -> None:
    job_id = reported(web)
    for action in ("requeue", "dismiss"):
        answer = form(web.client, f"/jobs/{job_id}/{action}", reason="a test")
        assert answer.status_code == 409
        assert "Only a parked job can be" in answer.text


def test_each_action_is_in_the_audit_trail_with_who_did_it(web: Web) -> None:
    operator = web.sign_in(Role.OPERATOR, "otto")
    for action, acted in (("dismiss", Action.DISMISS), ("requeue", Action.REQUEUE)):
        job_id = parked(web)
        assert form(operator, f"/jobs/{job_id}/{action}", reason="a test").status_code == 303
        newest = web.ledger.audit.recent(1)[0]
        assert (newest.action, newest.user, newest.job_id) == (acted, "otto", job_id)
        assert "a test" not in str(newest.detail)


def test_actions_need_the_permission_and_the_token_of_the_session(web: Web) -> None:
    job_id = parked(web)
    radiologist, operator = web.sign_in(Role.RADIOLOGIST), web.sign_in(Role.OPERATOR)
    assert "/requeue" not in page(radiologist, job_id)
    for action in ("requeue", "reanalyse", "dismiss"):
        path = f"/jobs/{job_id}/{action}"
        assert form(radiologist, path, reason="a test").status_code == 403
        assert form(web.client, path, reason="a test").status_code == 401
        forged = operator.post(path, data={"reason": "a test"}, headers={"X-CSRF-Token": "forged"})
        assert forged.status_code == 403
    assert job_of(web, job_id).state is JobState.PARKED


def test_a_form_of_unknown_or_absurd_length_is_not_read(web: Web) -> None:
    job_id = parked(web)
    path = f"/jobs/{job_id}/dismiss"
    assert form(web.client, path, reason="x" * 70_000).status_code == 413
    kind = {"content-type": "application/x-www-form-urlencoded"}
    chunked = web.client.post(path, content=iter([b"reason=", b"test"]), headers=kind)
    assert chunked.status_code == 411
    assert job_of(web, job_id).state is JobState.PARKED


def test_a_form_of_several_parts_is_not_parsed(web: Web) -> None:
    job_id = parked(web)
    answer = web.client.post(f"/jobs/{job_id}/dismiss", files={"reason": b"x"})
    assert answer.status_code == 415
    assert job_of(web, job_id).state is JobState.PARKED


def test_an_action_returns_to_a_page_of_ours_alone(web: Web) -> None:
    for wanted, taken in (("/status?tab=parked", True), ("//evil.example/", False)):
        job_id = parked(web)
        answer = form(web.client, f"/jobs/{job_id}/dismiss", next=wanted, reason="a test")
        assert answer.status_code == 303
        assert answer.headers["location"] == (wanted if taken else f"/jobs/{job_id}?done=dismissed")


def test_corrections_are_linked_both_ways(web: Web) -> None:
    first = receive(web, sop_instance_uid="1.2.3", digest="a" * 64)
    second = receive(web, sop_instance_uid="1.2.3", digest="b" * 64)
    assert "Corrected:</strong> the same UID came again" in page(web.client, first)
    assert f'href="/jobs/{second}"' in page(web.client, first)
    assert f'Corrects <a class="id" href="/jobs/{first}">' in page(web.client, second)


def test_other_studies_of_the_patient_and_the_rest_of_the_study_are_listed(web: Web) -> None:
    earlier = reported(web, replace(JANE, study_date="20250101"))
    later = reported(web, replace(JANE, study_date="20260601"))
    stranger = reported(web, replace(JANE, birth_date="19500101"))
    job_id = receive(web, JANE, study_instance_uid="1.2.9")
    beside = receive(web, JANE, study_instance_uid="1.2.9")
    shown = page(web.sign_in(Role.VIEWER), job_id)
    of_patient = shown[shown.index("Other studies of the patient") :]
    assert of_patient.index(f'href="/jobs/{later}">') < of_patient.index(f'/jobs/{earlier}">')
    assert "study of 2025-01-01, <strong>earlier</strong>" in of_patient
    assert "study of 2026-06-01, <strong>later</strong>" in of_patient
    assert f"/jobs/{stranger}" not in shown
    assert shown.index("Other instances of the study") < shown.index(f"/jobs/{beside}")
    without = page(web.sign_in(Role.OPERATOR), job_id)
    assert f"/jobs/{earlier}" not in without
    assert f"/jobs/{beside}" in without


def test_the_page_is_valid_for_a_job_of_every_age(web: Web) -> None:
    """A ledger of an earlier version has no thresholds."""
    job_id = receive(web)
    uid = report(web, job_id, predicted())
    with web.ledger._database.write() as connection:
        connection.exec_driver_sql("UPDATE jobs SET threshold = NULL, indeterminate_low = NULL")
    shown = page(web.sign_in(Role.VIEWER), job_id)
    assert uid in shown
    assert "whose threshold was not recorded" in shown
