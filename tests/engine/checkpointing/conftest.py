"""Where the runs that are saved come from."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / 'hooks'))
