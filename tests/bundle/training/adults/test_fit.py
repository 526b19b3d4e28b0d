"""The heads for adults find what was planted, where it was, and learn from what is seen alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scripts.network.adult_heads import AdultHeads
from scripts.training.adults.__main__ import Fits, fold_lines, source_lines
from scripts.training.adults.boxes import Box
from scripts.training.adults.features import MemberFeatures
from scripts.training.adults.fit import Learned, fit_heads, is_trainable, read_films
from scripts.training.heads.table import FilmTable

ADULTS, CHILDREN = 240, 400
LAST, MIDDLE = 12, 6  # channels
SIDE = 4  # of the last maps; the middle ones are twice as fine
UPPER_LEFT: Box = (0.0, 0.0, 0.5, 0.5)
CATEGORIES = np.array(["opacity", "normal", "other", "normal"])


@pytest.fixture(scope="module")
def fits() -> Fits:
    """Adults of three sources whose opacities are above on the left, and children."""
    chance = np.random.default_rng(5)
    number = np.arange(ADULTS + CHILDREN)
    is_child = number >= ADULTS
    category = np.where(is_child, CATEGORIES[number % 2], CATEGORIES[number % 4])
    last = chance.normal(1, 0.3, (ADULTS, LAST, SIDE, SIDE))
    middle = chance.normal(1, 0.3, (ADULTS, MIDDLE, 2 * SIDE, 2 * SIDE))
    ill = category[:ADULTS] == "opacity"
    last[ill, 0, :2, :2] += 1.5
    middle[ill, 1, :4, :4] += 1.5
    last[category[:ADULTS] == "other", 2] += 0.4
    pooled = np.concatenate([last.mean((2, 3)), chance.normal(1, 0.1, (CHILDREN, LAST))])
    pooled[is_child, 3] += 2
    table = FilmTable(
        sha256=np.array([f"{4 * k + (k % 2 == 0):08x}" for k in number]),
        source=np.where(
            is_child, "pediatric", np.array(["rsna2018", "nlm_shenzhen", "rsna2018"])[number % 3]
        ),
        category=category,
        patient=np.array([f"p{k // 2 * 2 if k < 8 else k}" for k in number]),
        view=np.full(len(number), ""),
        sex=np.full(len(number), ""),
        age_group=np.where(is_child, "1-5", "40-64"),
        part=np.array([*(f"fold-{k}" for k in range(5)), "validation", "measuring"])[number % 7],
        film=np.array([f"film{k}" for k in number]),
    )
    features = MemberFeatures(
        pooled=pooled.astype(np.float16),
        logits=chance.normal(-3, 0.1, (len(number), 5)).astype(np.float32),
        last=last.astype(np.float16),
        middle=middle.astype(np.float16),
        adults=np.arange(ADULTS),
    )
    boxes = {f"film{k}": [UPPER_LEFT] for k in np.flatnonzero(ill)}
    return Fits(table, features, boxes)


def of_part(fits: Fits, part: str) -> Learned:
    return fits.without(fits.table.part == part)


def test_an_opacity_of_a_film_that_was_held_out_is_found_and_told_from_others(fits: Fits) -> None:
    learned = of_part(fits, "fold-0")
    pred, other = read_films(fit_heads(learned), learned)
    held = (fits.table.part == "fold-0") & (fits.table.source != "pediatric")
    ill = fits.table.category == "opacity"
    assert pred[held & ill].min() > pred[held & ~ill].max()
    is_other = fits.table.category == "other"
    assert (
        other[held & is_other].mean() > other[held & (fits.table.category == "normal")].mean() + 1
    )


def test_the_evidence_is_where_the_boxes_were(fits: Fits) -> None:
    learned = of_part(fits, "fold-1")
    heads = fit_heads(learned)
    ill = np.flatnonzero((fits.table.category == "opacity") & (fits.table.part == "fold-1"))
    rows = ill[ill < ADULTS]
    maps = [
        torch.from_numpy(array[rows].astype(np.float32))
        for array in (fits.features.middle, fits.features.last)
    ]
    with torch.inference_mode():
        evidence = heads(*maps).attention[:, 0]
    assert evidence.shape[1:] == (2 * SIDE, 2 * SIDE)
    inside, beside = evidence[:, :4, :4].mean((1, 2)), evidence[:, 4:, 4:].mean((1, 2))
    assert (inside > beside + 1).all()


def test_a_child_s_film_is_read_by_the_members(fits: Fits) -> None:
    learned = of_part(fits, "fold-0")
    pred, _ = read_films(fit_heads(learned), learned)
    held = (fits.table.part == "fold-0") & (fits.table.source == "pediatric")
    wanted = fits.features.logits[held].mean(1)
    assert pred[held] == pytest.approx(wanted, abs=0.05)


def test_what_is_held_out_and_its_patients_change_nothing(fits: Fits) -> None:
    learned = of_part(fits, "fold-0")
    assert not learned.seen[fits.table.part == "fold-0"].any()
    patients = fits.table.patient[fits.table.part == "fold-0"]
    assert not learned.seen[np.isin(fits.table.patient, patients)].any()
    hidden = ~learned.seen
    pooled, last = fits.features.pooled.copy(), fits.features.last.copy()
    pooled[hidden] += 3
    last[hidden[:ADULTS]] += 3
    changed = replace(learned, features=replace(fits.features, pooled=pooled, last=last))
    before, after = (fit_heads(each).state_dict() for each in (learned, changed))
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_neither_the_validation_part_nor_what_is_for_measuring_is_learned_from(
    fits: Fits,
) -> None:
    used = is_trainable(fits.table)
    assert set(fits.table.part[used]) == {f"fold-{k}" for k in range(5)}
    children = used & (fits.table.source == "pediatric")
    folds = np.char.startswith(fits.table.part, "fold-") & (fits.table.source == "pediatric")
    assert 0 < children.sum() < folds.sum()  # every fourth


def test_without_boxes_the_pooled_features_decide_alone(fits: Fits) -> None:
    learned = replace(of_part(fits, "fold-0"), boxes={})
    heads = fit_heads(learned)
    assert not heads.coarse.get_parameter("weight").any()
    pred, _ = read_films(heads, learned)
    held = (fits.table.part == "fold-0") & (fits.table.source != "pediatric")
    ill = fits.table.category == "opacity"
    assert pred[held & ill].mean() > pred[held & ~ill].mean() + 1


def test_the_tables_have_each_film_once_for_what_did_not_see_it(fits: Fits) -> None:
    held_out, validation = fold_lines(fits)
    count = int(np.char.startswith(fits.table.part, "fold-").sum())
    assert len({line["image"] for line in held_out}) == len(held_out) == count
    assert all(line["held_out"] == line["part"] for line in held_out)
    assert len(validation) == 5 * int((fits.table.part == "validation").sum())
    left_out = list(source_lines(fits))
    assert {line["source"] for line in left_out} == {"rsna2018", "nlm_shenzhen"}
    assert {line["held_out"] for line in left_out} == {"rsna2018", "nlm_shenzhen+nlm_montgomery"}


def test_no_table_has_an_adult_whom_the_members_were_trained_on(fits: Fits) -> None:
    known = frozenset(fits.table.patient[[2, 9, ADULTS + 2]])
    aware = Fits(fits.table, fits.features, fits.boxes, known)
    hidden = aware.table.sha256[~aware.is_new]
    assert len(hidden) == 3  # films 2 and 3 are of one patient; a child's number is its own
    for lines in (*fold_lines(aware), list(source_lines(aware))):
        assert not {line["image"] for line in lines} & set(hidden)
    assert aware.without(fits.table.part == "none").seen[[2, 9]].any()  # they are learned from


def test_the_heads_have_the_shape_of_the_network_s(fits: Fits) -> None:
    fitted = fit_heads(of_part(fits, "fold-0")).state_dict()
    wanted = AdultHeads(MIDDLE, LAST).state_dict()
    assert {name: each.shape for name, each in fitted.items()} == {
        name: each.shape for name, each in wanted.items()
    }
