"""What a person can do about a job that was not analysed, or is parked.

The sentences are those of docs/operations.md, without its links; a test compares them.
"""

from typing import Final

from service.domain.reasons import Reason

ADVICE: Final[dict[Reason, str]] = {
    Reason.OWN_RESULT: "Exclude Lobar's results from the rule that routes to it.",
    Reason.NOT_AN_IMAGE: "Exclude reports from the rule that routes to Lobar.",
    Reason.MODALITY: "Route CR and DX only.",
    Reason.BODY_PART: "If it does show a chest, have Body Part Examined corrected where it is set.",
    Reason.VIEW: "Lateral and oblique views are not analysed.",
    Reason.NO_PIXELS: "Exclude such objects from the rule.",
    Reason.MULTI_FRAME: "Exclude such objects from the rule.",
    Reason.SIZE: "Often an icon or a photograph: exclude it.",
    Reason.PIXEL_FORMAT: "Report it with the header's image attributes.",
    Reason.PIXELS_UNREADABLE: "If a viewer shows the image, report it.",
    Reason.CODESTREAM: "Correct the program that compresses or converts the images.",
    Reason.BLANK: "A test exposure, or damage during transfer.",
    Reason.SATURATED: "Often a wrong window or a damaged export: have it sent as it was taken.",
    Reason.NOT_CHEST: "Exclude such objects from the rule. If a viewer shows a chest, report it.",
    Reason.LATERAL: (
        "Lateral views are not analysed. Have View Position set where the instance is made."
    ),
    Reason.TURNED: "Have it turned upright where the instance is made and sent again.",
    Reason.INVERTED: (
        "Photometric Interpretation or the look-up table is wrong: have it corrected and "
        "sent again."
    ),
    Reason.CUT_OFF: "Have the whole radiograph sent, not a crop.",
    Reason.UNFAMILIAR: (
        "Nothing: a result would be unreliable. If there are many, the model does not fit "
        "these radiographs."
    ),
    Reason.POPULATION: (
        "Is the age in the header right? Have others routed elsewhere. "
        "bundle.report_populations reports them nonetheless, for research only."
    ),
    Reason.DECODER_CRASHED: (
        "Look at the instance with another viewer; if that shows it, report the fault."
    ),
    Reason.DECODER_TIMEOUT: "If it is a radiograph, raise decoding.seconds and reanalyse it.",
    Reason.DECODER_OUT_OF_MEMORY: (
        "If it is a radiograph, raise decoding.memory_bytes and reanalyse it."
    ),
    Reason.ATTEMPTS_EXHAUSTED: (
        "The timeline shows postponed with the cause, or only leased where the worker died; "
        "the log names the place in the code. Correct the cause, then requeue."
    ),
    Reason.BYTES_MISSING: (
        "Have the sender store the instance again: the job takes its bytes and continues. "
        "Where only an output was lost, requeue: it is built again from the instance."
    ),
    Reason.REPORT_FAILED: "Report it with the log's event report_failed.",
    Reason.NO_DESTINATION: "Configure one, restart, requeue.",
    Reason.DESTINATION_REFUSED: (
        "The timeline shows its status. 0x0122: configure it to take the SOP class. 0x0124: "
        "add Lobar's AE title to those it accepts. Others: see its log."
    ),
    Reason.DESTINATION_UNREACHABLE: "Check with lobar check that it answers, then requeue.",
    Reason.NOT_COMMITTED: (
        "Ask its operator whether it kept the report, then requeue. The timeline shows its answer."
    ),
    Reason.DESTINATION_REMOVED: (
        "Configure the same name again, or requeue: the outputs are then sent to the "
        "destinations that are configured now."
    ),
}
