"""What has been predicted in a folder, and how; it survives a kill."""

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from cda_mmseg.utils.arguments import UsageError
from cda_mmseg.utils.atomic_file import write_text

TABLE, SETTINGS = 'predictions.csv', 'predictions.json'
DONE = 'done'


class Record:
    """``predictions.csv``, a line per picture as soon as it is done, and the settings that all of them share.

    Args:
        folder: The folder of the predictions.
        classes: Names of the classes, whose shares the lines hold.
        settings: What makes predictions what they are. Those of other settings are not added to.
        fresh: Whether to begin anew instead of going on.

    Raises:
        UsageError: If the folder holds predictions of other settings.
    """

    def __init__(self, folder: str, classes: Sequence[str], settings: Mapping[str, object], fresh: bool) -> None:
        self.path = Path(folder, TABLE)
        self.columns = ['name', 'picture', 'status', 'seconds', 'entropy', *(f'share.{name}' for name in classes)]
        settings_file = Path(folder, SETTINGS)
        self.is_ours = settings_file.exists()
        former = json.loads(settings_file.read_text()) if self.is_ours and not fresh else settings
        for key, value in settings.items():
            if former.get(key) != value:
                raise UsageError(
                    f'{folder} holds predictions with {key} {former.get(key)}, not {value}: choose another --out, or '
                    '--overwrite them.'
                )
        self._rows = {} if fresh else {row['name']: row for row in self._read() if row['status'] == DONE}
        write_text(str(settings_file), json.dumps(dict(settings), indent=1))
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, lineterminator='\n')
        writer.writeheader()
        writer.writerows(self._rows.values())
        write_text(str(self.path), text.getvalue())

    def _read(self) -> list[dict[str, str]]:
        """Read the lines that a kill left whole."""
        if not self.path.exists():
            return []
        whole = self.path.read_text().rpartition('\n')[0]
        return list(csv.DictReader(io.StringIO(whole)))

    def is_done(self, name: str, path: str, files: Sequence[str]) -> bool:
        """Tell whether a picture is predicted, into files that are there and newer than it.

        Raises:
            UsageError: If the files are of another picture, or of nobody knows what.
        """
        if name in self._rows:
            former = self._rows[name]['picture']
            if former != os.path.realpath(path):
                raise UsageError(f'{files[0]} is the prediction of {former}, not of {path}: choose another --out.')
            time = os.path.getmtime(path) if os.path.exists(path) else 0
            return all(os.path.exists(file) and os.path.getmtime(file) >= time for file in files)
        if not self.is_ours and (present := [file for file in files if os.path.exists(file)]):
            raise UsageError(f'{present[0]} exists and was not written by this tool: choose another --out.')
        return False

    def add(
        self, name: str, path: str, status: str, seconds: float, entropy: float | None, shares: Sequence[float]
    ) -> None:
        """Write the line of a picture."""
        numbers = [f'{seconds:.4f}', '' if entropy is None else f'{entropy:.6f}', *(f'{share:.6f}' for share in shares)]
        with self.path.open('a', newline='') as file:
            csv.writer(file, lineterminator='\n').writerow([name, os.path.realpath(path), status, *numbers])
