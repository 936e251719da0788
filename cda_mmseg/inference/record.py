"""What has been predicted in a folder, and how; it survives a kill."""

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from cda_mmseg.inference.files import naming
from cda_mmseg.utils.arguments import UsageError
from cda_mmseg.utils.atomic_file import text_file, write_text

TABLE, SETTINGS, SINCE = 'predictions.csv', 'predictions.json', 'since'
DONE = 'done'


class Record:
    """``predictions.csv``, a line per picture as soon as it is done, and the settings that all of them share.

    Args:
        folder: The folder of the predictions.
        classes: Names of the classes, whose shares the lines hold.
        settings: What makes predictions what they are. Those of other settings are not added to; one that was of no
            account before may be anything.
        fresh: Whether to begin anew instead of going on.

    Raises:
        UsageError: If the folder holds predictions of other settings.
    """

    def __init__(self, folder: str, classes: Sequence[str], settings: Mapping[str, object], fresh: bool) -> None:
        self.path = Path(folder, TABLE)
        self.columns = ['name', 'picture', 'status', 'seconds', 'entropy', *(f'share.{name}' for name in classes)]
        settings_file = Path(folder, SETTINGS)
        self.is_ours = settings_file.exists()
        former = json.loads(settings_file.read_text(encoding='utf-8')) if self.is_ours and not fresh else {}
        for key, value in settings.items():
            if former.get(key, value) != value:
                raise UsageError(
                    f'{folder} holds predictions with {key} {former[key]}, not {value}: choose another --out, or '
                    '--overwrite them.'
                )
        self._rows = {} if fresh else {row['name']: row for row in self._read() if row['status'] == DONE}
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, lineterminator='\n')
        writer.writeheader()
        writer.writerows(self._rows.values())
        # before the settings: a kill between them leaves no lines of others under these
        with naming(str(self.path)):
            write_text(str(self.path), text.getvalue())
        self.since = former.get(SINCE, 0 if self.is_ours and not fresh else os.path.getmtime(self.path))
        with naming(str(settings_file)):
            write_text(str(settings_file), json.dumps({**former, **settings, SINCE: self.since}, indent=1))

    def _read(self) -> list[dict[str, str]]:
        """Read the lines that a kill left whole."""
        if not self.path.exists():
            return []
        with text_file(str(self.path), 'r') as file:
            return list(csv.DictReader(io.StringIO(file.read().rpartition('\n')[0])))

    def is_done(self, name: str, path: str, files: Sequence[str]) -> bool:
        """Tell whether a picture is predicted with these settings, into files that are there and newer than it.

        Raises:
            UsageError: If the files are of another picture, or of nobody knows what.
        """
        if name in self._rows:
            former = self._rows[name]['picture']
            if former != os.path.realpath(path):
                raise UsageError(f'{files[0]} is the prediction of {former}, not of {path}: choose another --out.')
            time = max(self.since, os.path.getmtime(path) if os.path.exists(path) else 0)
            return all(os.path.exists(file) and os.path.getmtime(file) >= time for file in files)
        if not self.is_ours and (present := [file for file in files if os.path.exists(file)]):
            raise UsageError(f'{present[0]} exists and was not written by this tool: choose another --out.')
        return False

    def add(
        self, name: str, path: str, status: str, seconds: float, entropy: float | None, shares: Sequence[float]
    ) -> None:
        """Write the line of a picture."""
        numbers = [f'{seconds:.4f}', '' if entropy is None else f'{entropy:.6f}', *(f'{share:.6f}' for share in shares)]
        with naming(str(self.path)), text_file(str(self.path), 'a') as file:
            csv.writer(file, lineterminator='\n').writerow([name, os.path.realpath(path), status, *numbers])
