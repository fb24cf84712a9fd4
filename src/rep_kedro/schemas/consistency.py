"""Tables of consistency: whether similarities on one stimulus set go with those on another."""

from rep_kedro.schemas.columns import (
    MEASURE,
    REASON,
    WITH_REASON,
    correlation,
    count,
    number,
    p_values,
    text,
)
from rep_kedro.schemas.table import Table

NO_BOOTSTRAP = "no interval"
NO_PERMUTATIONS = "no permutations, or no test"

GROUP = (
    text("anchor", "the one network that is held fixed; empty without one"),
    text("category", "`all`, a column of the model cards, or `model_sets`"),
    text(
        "value_a",
        "what the first network of a pair is: `all`, a value of the category, a model set, the anchor",
    ),
    text("value_b", "what the second network of a pair is"),
)
GROUP_COLUMNS = tuple(column.name for column in GROUP)

CONSISTENCY = Table(
    "consistency",
    "One row for each measure, group of networks and two stimulus sets: correlation of similarities.",
    key=("measure", *GROUP_COLUMNS, "stimulus_set_a", "stimulus_set_b"),
    columns=(
        MEASURE,
        *GROUP,
        text("stimulus_set_a", "first stimulus set"),
        text("stimulus_set_b", "second stimulus set"),
        count("n_pairs", "pairs of networks with a similarity on both stimulus sets"),
        count("n_excluded", "pairs of networks without"),
        correlation("pearson", "Pearson's r over pairs of networks", missing=WITH_REASON),
        correlation("spearman", "Spearman's rank correlation", missing=WITH_REASON),
        correlation("kendall", "Kendall's tau", missing=WITH_REASON),
        correlation(
            "pearson_low",
            "lower end of the interval of `pearson`: bootstrap over networks, an anchor stays",
            missing=NO_BOOTSTRAP,
        ),
        correlation("pearson_high", "its upper end", missing=NO_BOOTSTRAP),
        *p_values(
            "all networks; each category; the model sets; each anchor",
            "two-sided p-value of permuted names of networks",
            missing=NO_PERMUTATIONS,
        ),
        REASON,
    ),
    empty_when="there is only one stimulus set",
)

CONSISTENCY_SUMMARY = Table(
    "consistency_summary",
    "One row for each measure and group of pairs of networks: consistency over all pairs of stimulus sets.",
    key=("measure", *GROUP_COLUMNS),
    columns=(
        MEASURE,
        *GROUP,
        count("n_pairs", "pairs of networks, on the pair of stimulus sets that has most"),
        count("n_set_pairs", "pairs of stimulus sets"),
        count("n_defined", "pairs of stimulus sets with a correlation"),
        correlation(
            "median_pearson", "median of Pearson's r over pairs of stimulus sets", missing=WITH_REASON
        ),
        correlation(
            "median_low",
            "lower end of its interval: bootstrap over networks and stimulus sets",
            missing=NO_BOOTSTRAP,
        ),
        correlation("median_high", "its upper end", missing=NO_BOOTSTRAP),
        correlation("smallest", "smallest r", missing=WITH_REASON),
        correlation("first_quartile", "first quartile of r", missing=WITH_REASON),
        correlation("third_quartile", "third quartile of r", missing=WITH_REASON),
        correlation("largest", "largest r", missing=WITH_REASON),
        REASON,
    ),
    empty_when="there is only one stimulus set",
)

ANCHOR_COMPARISONS = Table(
    "anchor_comparisons",
    "One row for each measure, anchor and two kinds of networks: with which is it more consistent?",
    key=("measure", *GROUP_COLUMNS),
    columns=(
        MEASURE,
        text("anchor", "the network that is held fixed"),
        text("category", "a column of the model cards, or `model_sets`"),
        text("value_a", "first kind of the other networks"),
        text("value_b", "second kind"),
        count("n_a", "pairs of stimulus sets with a correlation, first kind"),
        count("n_b", "the same, second kind"),
        correlation("median_a", "median r, first kind", missing=WITH_REASON),
        correlation("median_b", "median r, second kind", missing=WITH_REASON),
        number("statistic", "Wilcoxon's rank sum, standardised", missing=WITH_REASON),
        *p_values(
            "the comparisons of the anchor, by Bonferroni",
            "p-value of the rank sum, which takes pairs of stimulus sets as independent",
        ),
        number(
            "difference_low",
            "lower end of the interval of `median_a` - `median_b`: bootstrap over networks and stimulus sets",
            missing=NO_BOOTSTRAP,
        ),
        number("difference_high", "its upper end", missing=NO_BOOTSTRAP),
        REASON,
    ),
    empty_when="there are no anchors, or only one stimulus set",
)

MEASURE_AGREEMENT = Table(
    "measure_agreement",
    "Two rows for each two measures: do they rank pairs of networks, and consistency, in the same way?",
    key=("measure_a", "measure_b", "compared"),
    columns=(
        text("measure_a", "first measure"),
        text("measure_b", "second measure"),
        text(
            "compared",
            "mean similarities of pairs of networks, or values of `consistency.pearson`",
            values=("similarity", "consistency"),
        ),
        count("n", "values that are compared"),
        correlation("pearson", "Pearson's r", missing=WITH_REASON),
        correlation("spearman", "Spearman's rank correlation", missing=WITH_REASON),
        correlation(
            "pearson_low",
            "lower end of its interval: bootstrap over stimulus sets, of `similarity` over networks too",
            missing=NO_BOOTSTRAP,
        ),
        correlation("pearson_high", "its upper end", missing=NO_BOOTSTRAP),
        REASON,
    ),
    empty_when="there is only one measure",
)

TABLES = (CONSISTENCY, CONSISTENCY_SUMMARY, ANCHOR_COMPARISONS, MEASURE_AGREEMENT)
