"""Draw figures: ``python tools/figures.py losses --out docs/figures``; Fig. 1 comes from ``tools/paper.py fig1``."""

import argparse
from pathlib import Path

LOSS_FIGURES = ('fig3', 'fig5', 'cubics', 'readings', 'descent', 'lemma2', 'clamp')
SUFFIXES = ('.png', '.svg', '.pdf')


def draw_losses(arguments: argparse.Namespace) -> list[Path]:
    """Draw the figures of the losses."""
    from cda_mmseg.paper.loss_figures import LOSS_FIGURES
    from cda_mmseg.visualization.figures import save_figure

    files = []
    for name in arguments.only or LOSS_FIGURES:
        files += save_figure(LOSS_FIGURES[name](), arguments.out / name, arguments.suffixes, arguments.dpi)
    return files


def draw_pipeline(arguments: argparse.Namespace) -> list[Path]:
    """Draw the players of a model."""
    from cda_mmseg.engine.composition import read_config
    from cda_mmseg.paper.pipeline_figure import plot_pipeline
    from cda_mmseg.paper.pipeline_views import gather_pipeline
    from cda_mmseg.visualization.figures import save_figure

    views = gather_pipeline(read_config(arguments.config), arguments.checkpoint, arguments.device)
    return save_figure(plot_pipeline(views), arguments.out / 'fig2', arguments.suffixes, arguments.dpi)


def draw_features(arguments: argparse.Namespace) -> list[Path]:
    """Draw the class-score features of models, and print the distances between the domains."""
    from cda_mmseg.engine.composition import read_config
    from cda_mmseg.visualization.figures import save_figure

    try:
        from cda_mmseg.paper.class_features import gather_class_features
        from cda_mmseg.paper.domain_distance import class_distances
        from cda_mmseg.paper.tsne_figure import plot_tsne
    except ImportError as error:
        raise SystemExit(f"Fig. 4 needs scikit-learn: pip install 'cda_mmseg[tsne]' ({error})") from error
    data = read_config(arguments.data) if arguments.data else None
    models = {
        title: gather_class_features(
            read_config(config), checkpoint, data, arguments.images, arguments.seed, arguments.device
        )
        for title, (config, checkpoint) in (('before', arguments.before), ('after', arguments.after))
    }
    names = arguments.classes or models['before'].frequent_classes()
    models = {title: features.select(names) for title, features in models.items()}
    for title, features in models.items():
        distances = ', '.join(f'{name} {value:.2f}' for name, value in class_distances(features).items())
        print(f'proxy A-distance within classes, {title}: {distances}')
    figure = plot_tsne(dict(zip(arguments.titles, models.values(), strict=True)), arguments.seed)
    return save_figure(figure, arguments.out / 'fig4', arguments.suffixes, arguments.dpi)


def draw_labels(arguments: argparse.Namespace) -> list[Path]:
    """Draw what labels of the target are worth."""
    from cda_mmseg.experiments.label_counts import plot_label_counts
    from cda_mmseg.experiments.score_table import read_score_lines
    from cda_mmseg.visualization.figures import save_figure

    figure = plot_label_counts(read_score_lines(arguments.scores.read_text()), 'target/mIoU', arguments.levels)
    return save_figure(figure, arguments.out / 'labels', arguments.suffixes, arguments.dpi)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description='Draw figures.')
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument('--out', type=Path, default=Path('work_dirs/figures'), help='folder for the files')
    shared.add_argument('--suffixes', nargs='+', choices=SUFFIXES, default=list(SUFFIXES), help='kinds of files')
    shared.add_argument('--dpi', type=int, default=160, help='pixels per inch of PNG files')
    shared.add_argument('--device', default='cpu', help='device to compute on')
    figures = parser.add_subparsers(required=True)

    losses = figures.add_parser('losses', parents=[shared], help='Fig. 3, 5, Lemma 2, gradients, cubics, clamp')
    losses.add_argument('--only', nargs='+', choices=LOSS_FIGURES, help='some of them')
    losses.set_defaults(draw=draw_losses)

    pipeline = figures.add_parser('fig2', parents=[shared], help='the players, with what passes between them')
    pipeline.add_argument('config', help='config of a model with a GAN')
    pipeline.add_argument('checkpoint', nargs='?', help='its weights (default: as built)')
    pipeline.set_defaults(draw=draw_pipeline)

    labels = figures.add_parser('labels', parents=[shared], help='scores over numbers of labelled target pictures')
    labels.add_argument('scores', type=Path, help='scores.csv of tools/sweep.py; an arm NAME_N is a point of NAME')
    labels.add_argument('--levels', nargs='+', help='arms without a number to draw as lines (default: all)')
    labels.set_defaults(draw=draw_labels)

    features = figures.add_parser('fig4', parents=[shared], help='t-SNE of both domains, before and after adaptation')
    for when in ('before', 'after'):
        features.add_argument(f'--{when}', nargs=2, required=True, metavar=('CONFIG', 'CHECKPOINT'), help='a model')
    features.add_argument('--titles', nargs=2, default=['before adaptation', 'after adaptation'], help='of the models')
    features.add_argument('--data', metavar='CONFIG', help="config with other validation data than the models' own")
    features.add_argument('--classes', nargs='+', help='classes to show (default: the four that most images have)')
    features.add_argument('--images', type=int, default=100, help='images of each domain, chosen at random')
    features.add_argument('--seed', type=int, default=0, help='seed of that choice, of t-SNE and of the folds')
    features.set_defaults(draw=draw_features)
    arguments = parser.parse_args()
    if arguments.draw is draw_features and len(set(arguments.titles)) == 1:
        features.error(f'--titles: both models are called {arguments.titles[0]!r}; give each a title of its own')
    return arguments


def main() -> None:
    """Draw."""
    arguments = parse_arguments()
    from cda_mmseg.explained_errors import explained_errors
    from cda_mmseg.utils.loading import install_safe_loader

    install_safe_loader()
    with explained_errors():
        print(*arguments.draw(arguments), sep='\n')


if __name__ == '__main__':
    main()
