"""Which settings are tried, and which of them is chosen."""

from collections.abc import Callable, Sequence

from rep_kedro.kernels.probes.probe import select_weight_decay
from rep_kedro.kernels.probes.settings import Setting

COARSE_STEP = 9  # in a grid of eight values for each power of ten, the powers
FINE_STEPS = (4, 2, 1)

Accuracies = dict[Setting, float]


def select_setting(settings: Sequence[Setting], accuracies: Sequence[float], *, ties: str) -> Setting:
    """Return the setting with the best held-out accuracy.

    Args:
        settings: Those tried.
        accuracies: Of each.
        ties: ``larger_decay``: of equal accuracies the smoothest setting wins (larger decay, more
            neighbours), then the first; ``first_rate``: so within one learning rate, and among rates the
            first one.

    Raises:
        ValueError: If lengths differ, nothing is given, or an accuracy is NaN.

    Source:
        ``first_rate``: the probes of Ciernik et al. 2024, arXiv:2411.05561, whose search it repeats.
    """
    smoothness = [setting.smoothness for setting in settings]
    if ties == "larger_decay":
        return settings[select_weight_decay(accuracies, smoothness)]
    best: tuple[Setting, float] | None = None
    for rate in dict.fromkeys(setting.learning_rate for setting in settings):
        places = [i for i, setting in enumerate(settings) if setting.learning_rate == rate]
        place = places[select_weight_decay([accuracies[i] for i in places], [smoothness[i] for i in places])]
        if best is None or accuracies[place] > best[1]:
            best = (settings[place], accuracies[place])
    if best is None:
        raise ValueError("there is no setting to choose")
    return best[0]


def search_coarse_to_fine(
    settings: Sequence[Setting], measure: Callable[[Sequence[Setting]], Accuracies]
) -> Accuracies:
    """Return the accuracies of the settings that a search from coarse to fine tries.

    For each learning rate every ninth weight decay is tried, then the decays 4, 2 and 1 places from the
    best one so far, which moves only to a better one; equal accuracies of one round go to the larger decay.
    All rates go on together, so that a round is one fit.

    Args:
        settings: All of them.
        measure: Gives the held-out accuracies of some settings.

    Source:
        Radford et al. 2021, arXiv:2103.00020, appendix A.3 (the search); Ciernik et al. 2024,
        arXiv:2411.05561 (its steps).
    """
    rates = list(dict.fromkeys(setting.learning_rate for setting in settings))
    grids = {
        rate: sorted((s for s in settings if s.learning_rate == rate), key=lambda s: s.smoothness)
        for rate in rates
    }
    found: Accuracies = {}
    best: dict[float | None, int] = {}
    rounds: list[Callable[[float | None], list[int]]] = [
        lambda rate: list(range(0, len(grids[rate]), COARSE_STEP)),
        *(lambda rate, step=step: [best[rate] - step, best[rate] + step] for step in FINE_STEPS),
    ]
    for places_of in rounds:
        tried = {rate: [i for i in places_of(rate) if 0 <= i < len(grids[rate])] for rate in rates}
        wanted = [grids[rate][i] for rate in rates for i in tried[rate] if grids[rate][i] not in found]
        if wanted:
            found |= measure(wanted)
        for rate in rates:
            for i in sorted(tried[rate], key=lambda i: (found[grids[rate][i]], i), reverse=True)[:1]:
                if rate not in best or found[grids[rate][i]] > found[grids[rate][best[rate]]]:
                    best[rate] = i
    return found
