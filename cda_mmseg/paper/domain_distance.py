"""The proxy A-distance: how well a linear classifier tells two domains apart (for Eq. 1 of the paper)."""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cda_mmseg.paper.class_features import ClassFeatures

FOLDS = 5


def proxy_a_distance(features: np.ndarray, is_target: np.ndarray, image: np.ndarray, seed: int = 0) -> float:
    """Estimate the divergence d(S, T) of Eq. 1 by the proxy A-distance ``2 (1 - 2 ε)``.

    ε is the cross-validated balanced error of a logistic regression that tells the domains apart; all vectors of an
    image are in the same fold. (Ben-David et al., *Analysis of representations for domain adaptation*, NIPS 2006.)

    Args:
        features (np.ndarray): Feature vectors, (n, C).
        is_target (np.ndarray): Domain of each vector, bool, (n,).
        image (np.ndarray): Image of each vector, (n,).
        seed (int): Seed of the folds.

    Returns:
        float: 0 where the domains cannot be told apart, 2 where they always can; NaN if a domain has fewer than five
        images.
    """
    if min(len(np.unique(image[is_target == flag])) for flag in (False, True)) < FOLDS:
        return float('nan')
    classifier = make_pipeline(StandardScaler(), LogisticRegression(class_weight='balanced', max_iter=1000))
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    predicted = cross_val_predict(classifier, features, is_target, groups=image, cv=folds)
    error = 1 - balanced_accuracy_score(is_target, predicted)
    # Worse than chance is chance.
    return max(0.0, 2 * (1 - 2 * error))


def class_distances(features: ClassFeatures, seed: int = 0) -> dict[str, float]:
    """Compute the proxy A-distance within each class, where other class shares cannot pass for another domain.

    Args:
        features (ClassFeatures): Vectors of both domains.
        seed (int): Seed of the folds.

    Returns:
        dict[str, float]: Class → distance.
    """
    distances = {}
    for index in np.unique(features.class_index):
        members = features.class_index == index
        distances[features.classes[index]] = proxy_a_distance(
            features.features[members], features.is_target[members], features.image[members], seed
        )
    return distances
