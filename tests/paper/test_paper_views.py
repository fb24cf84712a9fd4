"""The study's features have rows of length one; similarities are on subsets, probes may be on whole sets."""

from rep_kedro.analyses.probing.params import ProbingParams
from rep_kedro.analyses.similarity.params import SimilarityParams
from rep_kedro.stimuli.subsets import AllRule


def test_similarities_and_probes_see_rows_of_length_one(parameters):
    similarity = SimilarityParams.model_validate(parameters["similarity"])
    assert similarity.transform == ("unit_length",)
    assert similarity.subset == "analysis"
    assert ProbingParams.model_validate(parameters["probing"]).transform == ("unit_length",)


def test_every_set_has_a_subset_of_all_its_stimuli_beside_that_of_the_similarities(networks, ingest):
    for name in networks.stimulus_sets:
        rules = ingest.rules()[name]
        assert rules["whole"] == AllRule(rule="all")
        assert "analysis" in rules
