"""Prediction of held-out stimuli straight from the definitions: one regression for each fold and strength."""

import numpy as np
from tests.reference.linear_maps import span

RIDGES = 10.0 ** np.arange(-6, 2)


def varying(y):
    """Return which features are not the same for all stimuli."""
    return np.linalg.norm(y - y.mean(axis=0), axis=0) > 1e-12 * np.linalg.norm(y, axis=0)


def ridge_r2(x, y, folds):
    return r2_of_all(y, predict(x, y, folds, lambda *fold: predict_by_ridge(*fold, joint=True)), folds)


def ridge_r2_mean(x, y, folds):
    return mean_r2(y, predict(x, y, folds, lambda *fold: predict_by_ridge(*fold, joint=False)), folds)


def pls_r2(x, y, folds, n_components):
    return r2_of_all(y, predict(x, y, folds, lambda *fold: predict_by_pls(*fold, n_components)), folds)


def pls_r2_mean(x, y, folds, n_components):
    return mean_r2(y, predict(x, y, folds, lambda *fold: predict_by_pls(*fold, n_components)), folds)


def ridge_r_mean(x, y, folds):
    return mean_r(y, predict(x, y, folds, lambda *fold: predict_by_ridge(*fold, joint=False)), folds)


def pls_r_mean(x, y, folds, n_components):
    return mean_r(y, predict(x, y, folds, lambda *fold: predict_by_pls(*fold, n_components)), folds)


def mean_r(y, predicted, folds):
    """Correlate deviations from the means of the training stimuli; what is predicted alike has none."""
    means, values = training_means(y, folds), []
    for feature in np.flatnonzero(varying(y)):
        observed, guessed = (z[:, feature] - means[:, feature] for z in (y, predicted))
        is_alike = guessed.std() <= 1e-6 * np.sqrt(np.mean(observed**2))
        values.append(0.0 if is_alike else np.corrcoef(observed, guessed)[0, 1])
    return np.mean(values)


def r2_of_all(y, predicted, folds):
    return 1 - np.sum((y - predicted) ** 2) / np.sum((y - training_means(y, folds)) ** 2)


def mean_r2(y, predicted, folds):
    errors, baseline = (np.sum((y - z) ** 2, axis=0) for z in (predicted, training_means(y, folds)))
    varies = varying(y)
    return np.mean(1 - errors[varies] / baseline[varies])


def training_means(y, folds):
    means = np.empty_like(y)
    for test in folds:
        means[test] = np.delete(y, test, axis=0).mean(axis=0)
    return means


def predict(x, y, folds, predict_fold):
    predicted = np.empty_like(y)
    for test in folds:
        train = np.delete(x, test, axis=0), np.delete(y, test, axis=0)
        mean_x, mean_y = (z.mean(axis=0) for z in train)
        predicted[test] = mean_y + predict_fold((train[0] - mean_x, train[1] - mean_y), x[test] - mean_x)
    return predicted


def predict_by_ridge(train, held_out, *, joint):
    x, y = train
    predictions, scores = [], []
    for share in RIDGES:
        penalised = x.T @ x + share * np.sum(x**2) * np.eye(x.shape[1])
        weights = np.linalg.solve(penalised, x.T @ y)
        hat = 1 / len(x) + x @ np.linalg.solve(penalised, x.T)
        errors = np.sum((y - x @ weights) ** 2, axis=0)
        scores.append((errors.sum() if joint else errors) / (len(x) - np.trace(hat)) ** 2)
        predictions.append(held_out @ weights)
    best = np.argmin(scores, axis=0)
    if joint:
        return predictions[best]
    return np.array(predictions)[best, :, np.arange(y.shape[1])].T


def predict_by_pls(train, held_out, n_components):
    """Take away from the predictor one component after the other (NIPALS), or fit all that it has."""
    x, y = train
    directions = span(x)
    if directions.shape[1] <= n_components:
        if directions.shape[1] == x.shape[1]:  # the sizes of features cancel
            x, held_out = (z / np.linalg.norm(x, axis=0) for z in (x, held_out))
        return held_out @ np.linalg.pinv(directions.T @ x, rcond=0) @ directions.T @ y
    weights, loadings, targets = [], [], []
    residual = x
    for _ in range(n_components):
        weights.append(np.linalg.svd(residual.T @ y)[0][:, 0])
        component = residual @ weights[-1]
        loadings.append(residual.T @ component / np.sum(component**2))
        targets.append(y.T @ component / np.sum(component**2))
        residual = residual - np.outer(component, loadings[-1])
    w, p, q = (np.array(z).T for z in (weights, loadings, targets))
    return held_out @ w @ np.linalg.inv(p.T @ w) @ q.T
