"""Held-out errors of partial least squares (PLS) regressions from one model to all models.

PLS does not change under rotations of stimuli or features. In the basis of the predictor's training features
it therefore finds its components from a matrix of rank x rank numbers for each pair, whatever the number of
stimuli; what the components predict is the projection of the targets on them.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from rep_kedro.kernels.similarity.basis import Basis, compute_basis
from rep_kedro.kernels.similarity.held_out import Fold, add_predictions

EXPLAINED = 1e-14  # a residual of less than this share of the targets is rounding
SMALL = 96  # an eigendecomposition of so many rows is as fast as iterating
CONVERGED = 1e-10  # residual of the leading eigenvector, as a share of its eigenvalue
STEPS_PER_CHECK, MAX_STEPS = 8, 160
START_SEED = 0


def add_pls_errors(fold: Fold, representation: Tensor, model: int, errors: Mapping[int, Tensor]) -> None:
    """Add the squared errors of predicting all models from one on the stimuli of a fold.

    A predictor of at most as many ranks as there are components is fitted by least squares on all of them,
    which is what PLS with all its components is.

    Args:
        fold: One fold of the features of all models.
        representation: The predictor as it is stored, rows in the order of the folds.
        model: The predictor's place.
        errors: By number of components: sums of ``add_predictions``, of which row ``model`` is added to.

    Cost:
        For each target O(n_training * rank * n_features) for the product, and for each component some tens
        of products with a matrix of rank x rank numbers: 0.2 s a target for rank 512 and 25 components on one
        core, so that all pairs of 64 such models in five folds take about an hour.

    Source:
        Wold et al. 1984, doi:10.1137/0905052 (components by deflation, features not rescaled).
    """
    test, columns = fold.test, fold.stack.columns
    training = torch.cat([representation[: test.start], representation[test.stop :]])
    basis = compute_basis(training, with_loadings=True)
    coordinates = _coordinates(fold, columns[model], basis)
    most = max(errors)
    for own in columns:
        targets = fold.project(basis.directions, own)
        observed = fold.held_out(own)
        if basis.rank > min(errors):
            components = find_components(basis.spread, targets, most)
        for n_components, sums in errors.items():
            if basis.rank <= n_components:
                predicted = coordinates @ targets
            else:
                kept = components[:, :n_components]
                predicted = coordinates @ kept @ (kept.T @ targets)
            add_predictions(sums, model, own, observed, predicted)


def _coordinates(fold: Fold, columns: slice, basis: Basis) -> Tensor:
    """Return the held-out stimuli along the basis of the training stimuli, shape (n_held_out, rank)."""
    held_out = fold.held_out(columns)
    if basis.loadings is None or not basis.rank:
        return held_out.new_zeros(len(held_out), basis.rank)
    loadings, held_out = basis.loadings, held_out / fold.energy[columns].sum().sqrt()
    if basis.rank == loadings.shape[1]:  # the sizes of features cancel, and large ones must not hide others
        sizes = torch.linalg.vector_norm(loadings, dim=0)
        loadings, held_out = loadings / sizes, held_out / sizes
    # orthonormal axes: what rounding lends a weak direction of a strong one would be enlarged by the division
    axes, factor = torch.linalg.qr(loadings.T)
    coordinates: Tensor = torch.linalg.solve_triangular(factor, (held_out @ axes).T, upper=True)
    return coordinates.T


def find_components(spread: Tensor, targets: Tensor, n_components: int) -> Tensor:
    """Return the components of PLS in the basis of the predictor.

    Each component is the predictor, less the earlier components, along the direction of features that has the
    largest covariance with some direction of the targets.

    Args:
        spread: Singular values of the predictor, positive, shape (rank,).
        targets: Targets along its basis, shape (rank, n_targets).
        n_components: Most components.

    Returns:
        Orthonormal columns, shape (rank, n_components); fewer where these explain the targets.
    """
    residual = targets @ targets.T
    enough = EXPLAINED * float(residual.trace())
    components = spread.new_zeros(len(spread), 0)
    for _ in range(min(n_components, len(spread))):
        if float(residual.trace()) <= enough:
            break
        component = spread * lead(spread[:, None] * residual * spread)
        for _ in range(2):  # once more, for what rounding left
            component = component - components @ (components.T @ component)
        component /= torch.linalg.vector_norm(component)
        components = torch.cat([components, component[:, None]], dim=1)
        residual = residual - torch.outer(component, component @ residual)
        residual = residual - torch.outer(residual @ component, component)
    return components


def lead(matrix: Tensor) -> Tensor:
    """Return the leading eigenvector of a symmetric matrix without negative eigenvalues, shape (n,).

    Lanczos iteration with every vector made orthogonal to all before; where eigenvalues are too close to be
    separated in ``MAX_STEPS`` products, a full decomposition.
    """
    if len(matrix) > SMALL:
        n_steps = min(MAX_STEPS, len(matrix))
        start = torch.randn(len(matrix), generator=torch.Generator().manual_seed(START_SEED)).to(matrix)
        vectors, images = matrix.new_zeros(n_steps, len(matrix)), matrix.new_zeros(n_steps, len(matrix))
        following = start
        for step in range(n_steps):
            vectors[step] = following / torch.linalg.vector_norm(following)
            images[step] = following = matrix @ vectors[step]
            for _ in range(2):
                following = following - vectors[: step + 1].T @ (vectors[: step + 1] @ following)
            if (step + 1) % STEPS_PER_CHECK == 0:
                found = _leading_within(vectors[: step + 1], images[: step + 1])
                if found is not None:
                    return found
    leading: Tensor = torch.linalg.eigh(matrix).eigenvectors[:, -1]
    return leading


def _leading_within(vectors: Tensor, images: Tensor) -> Tensor | None:
    """Return the leading eigenvector if it is in the span of the rows of ``vectors``."""
    values, mixing = torch.linalg.eigh(vectors @ images.T)
    found: Tensor = vectors.T @ mixing[:, -1]
    residual = torch.linalg.vector_norm(images.T @ mixing[:, -1] - values[-1] * found)
    return found if bool(residual <= CONVERGED * values[-1]) else None
