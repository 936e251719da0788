"""Train arms × seeds and compare them: ``python tools/sweep.py SWEEP.py --out DIR``."""

import argparse
import os
import signal
import sys
from pathlib import Path


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description='Train arms × seeds, and write a table of their last snapshots.')
    parser.add_argument('sweep', type=Path, help='sweep file: arms and seeds')
    parser.add_argument('--out', type=Path, required=True, help='folder of the runs and the table')
    parser.add_argument('--jobs', type=int, default=1, help='runs at once; here, one thread each')
    parser.add_argument('--cluster', choices=['slurm', 'local'], help='run as jobs that submitit submits')
    parser.add_argument('--keep-weights', action='store_true', help='keep all checkpoints, not only warm starts')
    parser.add_argument('--scores', nargs='+', default=['target/mIoU', 'source/mIoU'], help='columns of the table')
    parser.add_argument('--baseline', help='arm that differences are to (default: the first)')
    parser.add_argument('--oracle', help='arm trained on target labels, for the gap that each arm closes')
    arguments = parser.parse_args()
    if arguments.jobs < 1:
        parser.error('--jobs must be at least 1')
    return arguments


def main() -> None:
    """Train what is not finished, then write the table of all that is."""
    arguments = parse_arguments()
    # A scheduler's SIGTERM ends the sweep as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    from cda_mmseg.explained_errors import explained_errors

    try:
        with explained_errors():
            sweep(arguments)
    except KeyboardInterrupt:
        print('Stopped; the runs under way have saved. The same command goes on from there.', file=sys.stderr)
        sys.exit(os.EX_TEMPFAIL)


def sweep(arguments: argparse.Namespace) -> None:
    """Train and write, with errors as they are raised."""
    from cda_mmseg.experiments import ClusterCommands, SweepProgress, SweepStoppedError, read_sweep, run_sweep
    from cda_mmseg.experiments.sweep import check_arms

    plan = read_sweep(arguments.sweep)
    check_arms(plan, arguments.out, baseline=arguments.baseline, oracle=arguments.oracle)
    commands = arguments.cluster and ClusterCommands(arguments.out / 'submitit', arguments.cluster, plan.job)
    print(f'{len(plan.arms)} arms × {len(plan.seeds)} seeds, {arguments.jobs} at once, in {arguments.out}', flush=True)
    try:
        with SweepProgress(plan, arguments.out) as progress:
            run_sweep(plan, arguments.out, arguments.jobs, arguments.keep_weights, progress.print, commands)
    except SweepStoppedError as stopped:
        print(stopped, file=sys.stderr)
        raise KeyboardInterrupt from None
    finally:
        write_tables(plan.arms[0].name, arguments)


def write_tables(first_arm: str, arguments: argparse.Namespace) -> None:
    """Write what is finished, whatever is not."""
    from cda_mmseg.experiments import score_lines, score_table
    from cda_mmseg.experiments.sweep import read_results

    results = read_results(arguments.out)
    table = score_table(results, arguments.scores, arguments.baseline or first_arm, arguments.oracle)
    (arguments.out / 'table.md').write_text(table, 'utf-8')
    (arguments.out / 'scores.csv').write_text(score_lines(results), 'utf-8')
    print(f'\n{table}\nWritten to {arguments.out / "table.md"}, every validation to {arguments.out / "scores.csv"}')


if __name__ == '__main__':
    main()
