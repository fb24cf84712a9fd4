"""Measures on the outputs of classifiers."""

from rep_kedro.measures.families.functional import compare
from rep_kedro.measures.measure import Family, Invariance, Measure

# logits: adding one number to all of them changes no probability, one positive factor changes no decision
SAME_PROBABILITIES = frozenset({Invariance.ROW_TRANSLATION})
SAME_DECISIONS = SAME_PROBABILITIES | {Invariance.ISOTROPIC_SCALING, Invariance.ROW_SCALING}

ENTRIES = (
    Measure(
        id="disagreement",
        title="Disagreement",
        family=Family.FUNCTIONAL,
        runner=compare,
        source="Klabunde et al. 2025, doi:10.1145/3728458, section 4.2",
        value_range=(0.0, 1.0),
        larger_is_more_similar=False,
        invariances=SAME_DECISIONS,
        formula="share of stimuli with other decisions",
        parameters={"statistic": "disagreement"},
        compares="outputs",
    ),
    Measure(
        id="cohen_kappa",
        title="Agreement beyond chance (Cohen's kappa)",
        family=Family.FUNCTIONAL,
        runner=compare,
        source="Cohen 1960, doi:10.1177/001316446002000104",
        value_range=(-1.0, 1.0),
        larger_is_more_similar=True,
        invariances=SAME_DECISIONS,
        formula="(a − e) / (1 − e); a: share of equal decisions, e: the share by chance from how often "
        "each class is decided",
        parameters={"statistic": "cohen_kappa"},
        compares="outputs",
    ),
    Measure(
        id="jensen_shannon",
        title="Jensen-Shannon divergence (bit)",
        family=Family.FUNCTIONAL,
        runner=compare,
        source="Lin 1991, doi:10.1109/18.61115",
        value_range=(0.0, 1.0),
        larger_is_more_similar=False,
        invariances=SAME_PROBABILITIES,
        formula="mean over stimuli of H((p + q) / 2) − (H(p) + H(q)) / 2; p, q: probabilities, H: entropy "
        "in bit",
        parameters={"statistic": "jensen_shannon"},
        compares="outputs",
    ),
)
