"""Choose a snapshot without target labels: ``python tools/choose_snapshot.py CONFIG WORK_DIR [WORK_DIR ...]``."""

import argparse
from os.path import expanduser
from pathlib import Path


def main() -> None:
    """Read the command line, then choose."""
    parser = argparse.ArgumentParser(
        description='Score all snapshots of runs without target labels. Where the target has some, the table also says '
        'what each score was worth.'
    )
    parser.add_argument('config', type=expanduser, help='config of the network; its test images are predicted')
    parser.add_argument('work_dirs', nargs='+', type=expanduser, metavar='WORK_DIR', help='folders with iter_*.pth')
    parser.add_argument('--out', type=expanduser, help='folder for the table and the log (default: work_dirs/choice)')
    parser.add_argument('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help='changes of config keys')
    arguments = parser.parse_args()
    from cda_mmseg.explained_errors import explained_errors

    with explained_errors():
        choose(arguments)


def choose(arguments: argparse.Namespace) -> None:
    """Score and write, with errors as they are raised."""
    from cda_mmseg import launch
    from cda_mmseg.experiments import snapshot_choice
    from cda_mmseg.utils.loading import install_safe_loader

    out = arguments.out or str(Path('work_dirs', 'choice'))
    options = launch.read_options(arguments.cfg_options)
    config = launch.load_config(arguments.config, options, out, 'none')
    snapshots = snapshot_choice.find_snapshots(arguments.work_dirs)
    install_safe_loader()
    launch.start_process(config)
    config.load_from, config.resume, config.log_level = None, False, 'WARNING'
    snapshot_choice.collect_probabilities(config)
    scored = snapshot_choice.score_snapshots(
        launch.build_runner(config), snapshots, lambda line: print(line, flush=True)
    )
    table = snapshot_choice.choice_table(scored)
    path = Path(out, 'choice.md')
    path.write_text(table, encoding='utf-8')
    print(f'\n{table}\nWritten to {path}')


if __name__ == '__main__':
    main()
