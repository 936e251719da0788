"""Many runs and what they say together."""

import cda_mmseg.host  # noqa: F401
from cda_mmseg.experiments.commands import ClusterCommands, Commands, LocalCommands
from cda_mmseg.experiments.progress import SweepProgress
from cda_mmseg.experiments.score_table import score_lines, score_table
from cda_mmseg.experiments.sweep import Arm, Sweep, SweepError, SweepStoppedError, read_sweep, run_sweep

__all__ = [
    'Arm',
    'ClusterCommands',
    'Commands',
    'LocalCommands',
    'Sweep',
    'SweepError',
    'SweepProgress',
    'SweepStoppedError',
    'read_sweep',
    'run_sweep',
    'score_lines',
    'score_table',
]
