"""Measures on centred Gram and distance matrices: CKA in its variants, distance correlation."""

from rep_kedro.measures.measure import Family, Invariance, Json, Measure

ISOMETRIES = frozenset({Invariance.ROTATION, Invariance.TRANSLATION, Invariance.UNIT_PERMUTATION})
SIMILARITIES = ISOMETRIES | {Invariance.ISOTROPIC_SCALING}

KORNBLITH = "Kornblith et al. 2019, arXiv:1905.00414, section 3"
SONG = "Song et al. 2012, JMLR 13:1393, equation 5; Székely & Rizzo 2014, doi:10.1214/14-AOS1255"


def _entry(
    measure_id: str,
    title: str,
    source: str,
    *,
    value_range: tuple[float, float] = (0.0, 1.0),
    larger_is_more_similar: bool = True,
    invariances: frozenset[Invariance] = SIMILARITIES,
    **parameters: Json,
) -> Measure:
    return Measure(
        id=measure_id,
        title=title,
        family=Family.CKA,
        source=source,
        value_range=value_range,
        larger_is_more_similar=larger_is_more_similar,
        invariances=invariances,
        parameters=parameters,
    )


ENTRIES = (
    _entry("cka_linear_biased", "CKA (linear, biased)", KORNBLITH, kernel="linear", estimator="biased"),
)
