"""Write measured tables as Markdown and HTML."""

import html
from pathlib import Path

from prettytable import PrettyTable, TableStyle

from cda_mmseg.paper.measured_table import MeasuredTable

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font-family: sans-serif; margin: 2rem; max-width: 75rem; }}
table {{ border-collapse: collapse; margin: 1rem 0; }}
th, td {{ border-bottom: 1px solid #cccccc; padding: .3rem .8rem; text-align: right; }}
th {{ border-bottom: 2px solid #000000; }}
th:first-child, td:first-child {{ text-align: left; }}
</style>
</head>
<body>
{body}
</body>
</html>
"""


def write_table(table: MeasuredTable, path: Path) -> tuple[Path, Path]:
    """Write a table in both formats.

    Args:
        path (Path): Where to, without suffix; the folder is made if need be.

    Returns:
        tuple[Path, Path]: The Markdown and the HTML file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    files = path.with_suffix('.md'), path.with_suffix('.html')
    for file, text in zip(files, (format_markdown(table), format_html(table)), strict=True):
        file.write_text(text, encoding='utf-8')
    return files


def format_markdown(table: MeasuredTable) -> str:
    """Write a table in Markdown.

    Returns:
        str: Markdown with a line break at the end.
    """

    def lay_out(cells: PrettyTable) -> str:
        cells.set_style(TableStyle.MARKDOWN)
        return cells.get_string()

    parts = [f'# {table.title}', lay_out(table.scores), *table.notes]
    if table.classes is not None:
        parts += ['## Target IoU per class, mean over the seeds', lay_out(table.classes)]
    parts += ['## Runs', lay_out(table.runs) if table.runs.rows else 'None is finished.']
    return '\n\n'.join(parts) + '\n'


def format_html(table: MeasuredTable) -> str:
    """Write a table as an HTML page that needs no other file.

    Returns:
        str: HTML.
    """
    parts = [f'<h1>{html.escape(table.title)}</h1>', table.scores.get_html_string()]
    parts += [f'<p>{html.escape(note)}</p>' for note in table.notes]
    if table.classes is not None:
        parts += ['<h2>Target IoU per class, mean over the seeds</h2>', table.classes.get_html_string()]
    parts += ['<h2>Runs</h2>', table.runs.get_html_string() if table.runs.rows else '<p>None is finished.</p>']
    return _PAGE.format(title=html.escape(table.title), body='\n'.join(parts))
