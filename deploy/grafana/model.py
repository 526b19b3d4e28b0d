"""The dashboard of the model: what it finds, refuses and is shown, and what radiologists say."""

from typing import Final

from panels import GREEN, ORANGE, RED, Dashboard, Query, Row, heat_map, stat, table, time_series

_FINDINGS: Final = Row(
    title="What it finds",
    panels=[
        time_series(
            "Findings",
            "Findings of pneumonia within the last day.",
            Query(
                'sum by (finding) (increase(lobar_predictions_total{job=~"$job"}[1d]))',
                "{{finding}}",
            ),
            stacked=True,
        ),
        time_series(
            "Share of pneumonia",
            "Of the last day, and of the week before.",
            Query('job:lobar_present:ratio1d{job=~"$job"}', "{{job}}, last day"),
            Query('job:lobar_present:ratio7d{job=~"$job"}', "{{job}}, week before"),
            unit="percentunit",
        ),
        heat_map(
            "Probabilities",
            "Probabilities of pneumonia within each quarter of an hour.",
            'sum by (le) (increase(lobar_prediction_probability_bucket{job=~"$job"}[15m]))',
            unit="percentunit",
        ),
        time_series(
            "Quantiles of the probability",
            "Of the last day.",
            *(
                Query(
                    f"histogram_quantile({quantile}, sum by (le) (increase("
                    'lobar_prediction_probability_bucket{job=~"$job"}[1d])))',
                    words,
                )
                for quantile, words in ((0.1, "10 %"), (0.5, "median"), (0.9, "90 %"))
            ),
            unit="percentunit",
        ),
        time_series(
            "Other abnormality",
            "Readings of another abnormality within the last day.",
            Query(
                "sum by (finding) (increase("
                'lobar_other_abnormality_findings_total{job=~"$job"}[1d]))',
                "{{finding}}",
            ),
            stacked=True,
        ),
        table(
            "Model",
            "What is loaded, and on which device.",
            "max by (job, instance, name, version, weights_sha256, operating_point, device) "
            '(lobar_model_info{job=~"$job"})',
        ),
    ],
)
_REFUSALS: Final = Row(
    title="What it refuses",
    panels=[
        time_series(
            "Not analysed, by reason",
            "Instances within the last day.",
            Query(
                'sum by (reason) (increase(lobar_not_analysed_total{job=~"$job"}[1d])) > 0'
                ' or sum(increase(lobar_not_analysed_total{job=~"$job"}[1d]))',
                "{{reason}}",
            ),
            stacked=True,
        ),
        time_series(
            "Share not analysed",
            "Of the last six hours, and of the week before.",
            Query('job:lobar_not_analysed:ratio6h{job=~"$job"}', "{{job}}, last six hours"),
            Query('job:lobar_not_analysed:ratio7d{job=~"$job"}', "{{job}}, week before"),
            unit="percentunit",
        ),
        time_series(
            "Populations",
            "Instances within the last day, by population and outcome.",
            Query(
                'sum by (population, outcome) (increase(lobar_populations_total{job=~"$job"}[1d]))',
                "{{population}}: {{outcome}}",
            ),
        ),
    ],
)
_DRIFT: Final = Row(
    title="How far the instances are from those it was trained on",
    panels=[
        time_series(
            "Population stability index",
            "By input; from 0.1 on some change, from 0.25 on a large one.",
            Query('max by (input) (lobar_drift_psi{job=~"$job"})', "{{input}}"),
        ),
        stat(
            "Largest index",
            "Of all inputs.",
            Query('max(lobar_drift_psi{job=~"$job"})'),
            steps=((None, GREEN), (0.1, ORANGE), (0.25, RED)),
            width=6,
        ),
        stat(
            "Instances in the window",
            "With fewer than a hundred, chance alone moves the index.",
            Query('max(lobar_drift_window_instances{job=~"$job"})'),
            width=6,
        ),
    ],
)
_RADIOLOGISTS: Final = Row(
    title="What radiologists say",
    panels=[
        stat(
            "Agreement",
            "Of the verdicts of the last 30 days that agree or disagree, those that agree.",
            Query(
                'sum(increase(lobar_verdicts_total{job=~"$job", opinion="agree"}[30d])) / '
                'sum(increase(lobar_verdicts_total{job=~"$job", opinion=~"agree|disagree"}[30d]))'
            ),
            unit="percentunit",
            steps=((None, RED), (0.7, ORANGE), (0.85, GREEN)),
            width=6,
        ),
        time_series(
            "Verdicts",
            "Verdicts within the last week, by opinion and finding.",
            Query(
                'sum by (opinion, finding) (increase(lobar_verdicts_total{job=~"$job"}[7d]))',
                "{{opinion}} with {{finding}}",
            ),
            width=18,
        ),
    ],
)

MODEL: Final = Dashboard(
    name="model",
    title="Lobar: model",
    description="What the model finds, refuses and is shown, and what radiologists say.",
    rows=[_FINDINGS, _REFUSALS, _DRIFT, _RADIOLOGISTS],
    hours=24 * 7,
)
