"""Draw the class-score features of both domains before and after adaptation (after Fig. 4 of the paper)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from cda_mmseg.paper.class_features import ClassFeatures
from cda_mmseg.paper.domain_distance import class_distances, proxy_a_distance
from cda_mmseg.visualization.figures import COLORS, STYLE, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PERPLEXITY = 30
MARKERS = {'source': 'o', 'target': '*'}


def embed(features: ClassFeatures, seed: int = 0) -> np.ndarray:
    """Lay feature vectors out in the plane with t-SNE.

    Args:
        features (ClassFeatures): The vectors, at least four.
        seed (int): Seed of the optimisation.

    Returns:
        np.ndarray: Positions, (n, 2).
    """
    from sklearn.manifold import TSNE

    count = len(features.features)
    tsne = TSNE(perplexity=min(PERPLEXITY, (count - 1) / 3), init='pca', random_state=seed)
    return tsne.fit_transform(features.features.astype(np.float32))


def plot_tsne(models: Mapping[str, ClassFeatures], seed: int = 0) -> 'Figure':
    """Draw the features of several models side by side: classes by colour, domains by marker.

    Args:
        models (Mapping[str, ClassFeatures]): Title → features of the same classes.
        seed (int): Seed of t-SNE and of the folds of the proxy A-distance.

    Returns:
        Figure: One axes per model. Its title has the proxy A-distance over all vectors, and the mean of the distances
        within each class.

    Raises:
        ValueError: If the models' features have other classes.
    """
    shown = {title: sorted(set(features.class_index.tolist())) for title, features in models.items()}
    indices = next(iter(shown.values()))
    if any(other != indices for other in shown.values()):
        raise ValueError(f'all models must show the same classes, not {shown}')
    figure = new_figure(3.6 * len(models), 3.9)
    from matplotlib import rc_context
    from matplotlib.lines import Line2D

    with rc_context(STYLE):
        panels = figure.subplots(1, len(models), squeeze=False)[0]
        for panel, (title, features) in zip(panels, models.items(), strict=True):
            positions = embed(features, seed)
            for domain, marker in MARKERS.items():
                for index, color in zip(indices, COLORS, strict=False):
                    members = (features.class_index == index) & (features.is_target == (domain == 'target'))
                    # Open circles, so that both domains can be seen where they lie on each other.
                    panel.scatter(
                        *positions[members].T,
                        s=16 if domain == 'source' else 34,
                        marker=marker,
                        facecolors='none' if domain == 'source' else color,
                        edgecolors=color if domain == 'source' else 'white',
                        linewidths=0.8 if domain == 'source' else 0.3,
                        label=f'{domain} {features.classes[index]}',
                    )
            overall = proxy_a_distance(features.features, features.is_target, features.image, seed)
            known = [value for value in class_distances(features, seed).values() if value == value]
            within = np.mean(known) if known else np.nan
            panel.set(xticks=[], yticks=[])
            panel.grid(False)
            panel.spines[:].set_visible(True)
            panel.set_title(f'{title}\nproxy A-distance {overall:.2f}, within classes {within:.2f}', fontsize=9)
        features = next(iter(models.values()))
        entries = [
            Line2D([], [], linestyle='', marker='s', color=color, label=features.classes[index])
            for index, color in zip(indices, COLORS, strict=False)
        ]
        entries += [
            Line2D([], [], linestyle='', marker='o', markerfacecolor='none', color='#444444', label='source'),
            Line2D([], [], linestyle='', marker='*', markersize=9, color='#444444', label='target'),
        ]
        unlabeled = [domain for domain in MARKERS if not features.labeled[domain]]
        title = f'classes of the {" and ".join(unlabeled)} as predicted' if unlabeled else None
        figure.legend(handles=entries, title=title, loc='outside lower center', ncols=len(entries))
    return figure
