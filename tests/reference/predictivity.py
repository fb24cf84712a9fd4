"""Prediction of held-out stimuli straight from the definitions: a regression solved for each fold and strength."""

import numpy as np

RIDGES = 10.0 ** np.arange(-6, 2)


def varying(y):
    """Return which features are not the same for all stimuli."""
    return np.linalg.norm(y - y.mean(axis=0), axis=0) > 1e-12 * np.linalg.norm(y, axis=0)


def ridge_r2(x, y, folds):
    predicted = predict(x, y, folds, lambda train, test: predict_by_ridge(train, test, joint=True))
    return 1 - np.sum((y - predicted) ** 2) / np.sum((y - training_means(y, folds)) ** 2)


def ridge_r2_mean(x, y, folds):
    y = y[:, varying(y)]
    predicted = predict(x, y, folds, lambda train, test: predict_by_ridge(train, test, joint=False))
    errors, baseline = (np.sum((y - z) ** 2, axis=0) for z in (predicted, training_means(y, folds)))
    return np.mean(1 - errors / baseline)


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
